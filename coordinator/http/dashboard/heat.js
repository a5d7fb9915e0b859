// Anomaly maps as heat: grey PNGs become colours, which lie over their images as strongly as wanted.

import {el, kept, labelled, number} from '/assets/dom.js';

// matplotlib's inferno, a colour every eighth: it grows in lightness, so it reads without colour vision too.
const ramp = ['#000004', '#280b53', '#65156e', '#9f2a63', '#d44842', '#f57d15', '#fac127', '#f7e225', '#fcffa4'];

/// The colours of the levels 0 to 255, three bytes each.
const colours = (() => {
  const stops = ramp.map((stop) => [1, 3, 5].map((at) => parseInt(stop.slice(at, at + 2), 16)));
  const table = new Uint8Array(3 * 256);
  for (let level = 0; level < 256; ++level) {
    const place = (level / 255) * (stops.length - 1);
    const below = Math.min(Math.floor(place), stops.length - 2);
    for (let k = 0; k < 3; ++k) {
      table[3 * level + k] = stops[below][k] + (place - below) * (stops[below + 1][k] - stops[below][k]);
    }
  }
  return table;
})();

async function paint(canvas, url) {
  const grey = new Image();
  grey.src = url;
  await grey.decode();
  const pen = canvas.getContext('2d', {willReadFrequently: true});
  pen.drawImage(grey, 0, 0, canvas.width, canvas.height);
  const pixels = pen.getImageData(0, 0, canvas.width, canvas.height);
  for (let at = 0; at < pixels.data.length; at += 4) {
    const level = 3 * pixels.data[at];
    for (let k = 0; k < 3; ++k) pixels.data[at + k] = colours[level + k];
  }
  pen.putImageData(pixels, 0, 0);
}

// Maps are fetched and painted once they come into sight.
const due = new WeakMap();
const sight = new IntersectionObserver(
  (entries) => {
    for (const {target, isIntersecting} of entries) {
      if (!isIntersecting || !due.has(target)) continue;
      const url = due.get(target);
      due.delete(target);
      sight.unobserve(target);
      paint(target, url).catch(() => target.closest('.pane')?.classList.add('broken'));
    }
  },
  {rootMargin: '300px'},
);

/// An image of a picture with its map over it. How strongly, `heatControls` says for all on the page.
export function overlay(picture, alt) {
  const {width, height, image, map} = picture;
  const heat = el('canvas', {width, height, class: 'heat', 'aria-hidden': 'true'});
  due.set(heat, map);
  sight.observe(heat);
  return el(
    'span',
    {class: 'pane'},
    el('img', {src: image, alt, width: String(width), height: String(height), loading: 'lazy', decoding: 'async'}),
    heat,
  );
}

/// One PNG of a picture.
export function pane(picture, url, alt) {
  const size = {width: String(picture.width), height: String(picture.height)};
  return el('span', {class: 'pane'}, el('img', {src: url, alt, ...size, loading: 'lazy', decoding: 'async'}));
}

/// The slider of the heat's opacity, and what its colours mean; `low` and `high` are the ends of the maps, where they are
/// of one trial. It rules the overlays inside `root`.
export function heatControls(root, {low = null, high = null} = {}) {
  const before = kept.get('heat', 50);
  const told = el('output', {}, `${before} %`);
  const slider = el('input', {
    type: 'range',
    min: '0',
    max: '100',
    step: '5',
    value: String(before),
    oninput: () => {
      kept.set('heat', Number(slider.value));
      show();
    },
  });
  function show() {
    told.textContent = `${slider.value} %`;
    slider.setAttribute('aria-valuetext', `${slider.value} percent`);
    root.style.setProperty('--heat', String(Number(slider.value) / 100));
  }
  show();
  const known = low !== null && high !== null;
  const legend = el(
    'span',
    {
      class: 'legend',
      role: 'img',
      'aria-label': known
        ? `Heat from dark, ${number(low)}, to light, ${number(high)}: the ends of the maps of all test images`
        : 'Heat from dark, normal, to light, anomalous',
    },
    el('span', {}, known ? number(low) : 'normal'),
    el('span', {class: 'ramp', style: {background: `linear-gradient(to right, ${ramp.join(', ')})`}}),
    el('span', {}, known ? number(high) : 'anomalous'),
  );
  return el('div', {class: 'row'}, labelled('Heat', slider), told, legend);
}
