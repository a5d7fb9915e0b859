// What a trial makes of images: test images with their anomaly maps, the reconstruction error by class (Figure 1 of the
// paper), and Figure 2 where it was drawn.

import {get} from '/assets/api.js';
import {axis, chart, tooltip} from '/assets/charts.js';
import {act, el, empty, fill, kept, labelled, number, section, select} from '/assets/dom.js';
import {heatControls, overlay, pane} from '/assets/heat.js';

export function imagesView(name, signal) {
  const images = el('div'),
    figures = el('div');
  const errors = errorsByClass(signal);
  const element = el('div', {}, images, errors.element, figures);
  let drawn = '';
  return {
    element,
    async draw(trial) {
      errors.draw(trial);
      const found = await get(`/trials/${name}/pictures`, {}, signal);
      const key = JSON.stringify([found, trial.state, trial.reason]);
      if (key === drawn) return;
      drawn = key;
      fill(images, testImages(found.pictures, trial));
      fill(figures, figureOf(found.figures, name));
    },
  };
}

// --- test images ---

/// `anomalous` of a set whose classes are anomalous as a whole, `defect` where classes have both kinds.
function kindWords(pictures) {
  const kinds = new Map();
  for (const {class: of, anomalous} of pictures) kinds.set(of, new Set([...(kinds.get(of) ?? []), anomalous]));
  const defects = pictures.some((picture) => picture.truth) || [...kinds.values()].some((kind) => kind.size > 1);
  return {normal: 'normal', anomalous: defects ? 'defect' : 'anomalous'};
}

function noImages(trial) {
  if (['waiting', 'running', 'paused'].includes(trial.state)) return 'Test images come with the last evaluation.';
  if (trial.state !== 'finished' || trial.reason) return 'None: the trial ended before its last evaluation.';
  return ['None: ', el('code', {}, 'eval.pictures'), ' is 0, or the data set has no images to show.'];
}

function testImages(pictures, trial) {
  if (pictures.length === 0) return section('Test images', empty(noImages(trial)));
  const words = kindWords(pictures);
  const hasTruth = pictures.some((picture) => picture.truth);
  const rows = el('div', {class: 'pictures'});
  const classes = [...new Set(pictures.map((picture) => picture.class))];
  const ofClass = select([['', 'all'], ...classes.map((each) => [each, each])], '', show);
  const ofKind = select(
    [
      ['', 'all'],
      ['normal', words.normal],
      ['anomalous', words.anomalous],
    ],
    kept.get('pictures of kind', ''),
    show,
  );
  const none = el('div');

  function show() {
    kept.set('pictures of kind', ofKind.value);
    const fits = ({class: of, anomalous}) =>
      (ofClass.value === '' || of === ofClass.value) && (ofKind.value === '' || (ofKind.value === 'anomalous') === anomalous);
    const shown = pictures.filter(fits);
    fill(none, shown.length === 0 && empty('No picture of this class and kind.'));
    fill(
      rows,
      classes
        .map((each) => [each, shown.filter((picture) => picture.class === each)])
        .filter(([, some]) => some.length > 0)
        .map(([each, some]) =>
          el(
            'section',
            {class: 'of-class', 'aria-label': `Test images of ${each}`},
            el('h3', {}, each),
            el(
              'div',
              {class: 'row-of-pictures'},
              some.map((picture) => figure(picture, words, hasTruth)),
            ),
          ),
        ),
    );
  }
  show();

  const {map_low: low, map_high: high, step} = pictures[0];
  const card = section('Test images');
  card.append(
    el(
      'p',
      {class: 'dim'},
      `The image of median score of each class${words.anomalous === 'defect' ? ', normal and defective' : ''}, by the model of `,
      `step ${number(step)}. The maps of all test images share one scale.`,
    ),
    el('div', {class: 'row'}, labelled('Class', ofClass), labelled('Kind', ofKind), heatControls(card, {low, high})),
    none,
    rows,
  );
  return card;
}

/// Image, ground truth and overlay beside each other; a press shows them large.
function figure(picture, words, hasTruth) {
  const kind = picture.anomalous ? words.anomalous : words.normal;
  return el(
    'figure',
    {class: 'picture'},
    el(
      'button',
      {
        type: 'button',
        class: 'plain panes',
        'aria-label': `Enlarge ${picture.name}: ${kind}, score ${number(picture.score)}`,
        onclick: () => enlarge(picture, kind),
      },
      panes(picture, hasTruth),
    ),
    el(
      'figcaption',
      {},
      el('span', {class: picture.anomalous ? 'kind anomalous' : 'kind'}, picture.anomalous ? '▲ ' : '○ ', kind),
      ' ',
      el('span', {class: 'nowrap'}, `score ${number(picture.score)}`),
      ' ',
      el('span', {class: 'dim name', title: picture.name}, picture.name),
    ),
  );
}

function panes(picture, hasTruth) {
  const labelledPane = (text, shown) => el('span', {class: 'with-label'}, shown, el('span', {class: 'dim'}, text));
  const truth = picture.truth
    ? pane(picture, picture.truth, `Ground truth of ${picture.name}: white where it is defective`)
    : el(
        'span',
        {class: 'pane none', style: {aspectRatio: `${picture.width} / ${picture.height}`}},
        picture.anomalous ? 'not known' : 'no defect',
      );
  return [
    labelledPane('image', pane(picture, picture.image, `Test image ${picture.name} of class ${picture.class}`)),
    hasTruth && labelledPane('ground truth', truth),
    labelledPane('anomaly map', overlay(picture, `Anomaly map over ${picture.name}`)),
  ];
}

function enlarge(picture, kind) {
  const dialog = el(
    'dialog',
    {class: 'large', 'aria-labelledby': 'picture-title', onclose: () => dialog.remove()},
    el('h2', {id: 'picture-title'}, picture.name),
    el(
      'p',
      {},
      `Class ${picture.class}, ${kind}, score ${number(picture.score)}, ${picture.width} × ${picture.height} pixels, `,
      `model of step ${number(picture.step)}`,
    ),
    el('div', {class: 'panes'}, panes(picture, picture.truth !== null)),
    heatControls(document.documentElement, {low: picture.map_low, high: picture.map_high}),
    el('form', {method: 'dialog', class: 'row end'}, el('button', {class: 'primary'}, 'Close')),
  );
  document.body.append(dialog);
  dialog.showModal();
}

// --- reconstruction error by class ---

function errorsByClass(signal) {
  const figure = chart('Reconstruction error by class, of normal and of anomalous test images', signal, {height: 320});
  const note = el('div');
  const card = section(
    'Reconstruction error by class',
    el('p', {class: 'dim'}, 'Mean over test images of the squared distance between features and their reconstruction.'),
    note,
    figure.element,
  );
  let drawn = '';
  return {
    element: card,
    draw(trial) {
      const found = new Map(); // by class: [normal, anomalous]
      for (const [metric, value] of Object.entries(trial.final)) {
        const [kind, of] = [metric.split('/')[0], metric.slice(metric.indexOf('/') + 1)];
        const place = {error_normal: 0, error_anomalous: 1}[kind];
        if (place === undefined || !metric.includes('/')) continue;
        const both = found.get(of) ?? [null, null];
        both[place] = value;
        found.set(of, both);
      }
      const key = JSON.stringify([...found]);
      if (key === drawn) return;
      drawn = key;
      const classes = [...found.keys()].sort((a, b) => a.localeCompare(b, 'en', {numeric: true}));
      fill(note, classes.length === 0 && empty('Not evaluated yet.'));
      figure.element.hidden = classes.length === 0;
      if (classes.length > 0) figure.draw((shared) => errorsOption(shared, classes, found));
    },
  };
}

function errorsOption(shared, classes, found) {
  const kinds = ['normal', 'anomalous'];
  const shown = kinds.filter((_, place) => classes.some((of) => found.get(of)[place] !== null));
  // Where a class is normal or anomalous as a whole, its one bar stands in the middle.
  const single = classes.every((of) => found.get(of).includes(null));
  return {
    tooltip: {
      ...tooltip(shared, 'axis', (bars) => [
        bars[0].name,
        ...bars
          .filter((bar) => bar.value !== null && bar.value !== undefined)
          .map((bar) => [el('i', {class: 'dot', style: {background: bar.color}}), `${bar.seriesName}: ${number(bar.value)}`]),
      ]),
      axisPointer: {type: 'shadow'},
    },
    legend: {top: 0, textStyle: {color: shared.text}, itemWidth: 14, itemHeight: 10},
    grid: {left: 8, right: 16, top: 34, bottom: 8, containLabel: true},
    xAxis: axis(shared, {
      type: 'category',
      data: classes,
      axisLabel: {interval: 0, hideOverlap: false, rotate: classes.length > 6 ? 40 : 0, width: 110, overflow: 'truncate'},
    }),
    yAxis: axis(shared, {type: 'value', axisLabel: {formatter: (value) => number(value, 2)}}),
    series: shown.map((kind) => ({
      type: 'bar',
      name: kind,
      data: classes.map((of) => found.get(of)[kinds.indexOf(kind)]),
      barMaxWidth: 42,
      barGap: single ? '-100%' : '10%',
      itemStyle: {
        color: shared.palette[kinds.indexOf(kind)],
        decal: kind === 'anomalous' ? {symbol: 'rect', dashArrayX: [1, 0], dashArrayY: [2, 5], rotation: -Math.PI / 4} : null,
      },
    })),
  };
}

// --- Figure 2 ---

function figureOf(figures, name) {
  const drawn = figures.find((each) => each.figure === 2);
  const first = figures.find((each) => each.figure === 1);
  const command = `hivq figures ${name}`;
  const code = el('code', {tabindex: '0'}, command);
  if (!drawn) {
    const copy = el(
      'button',
      {
        type: 'button',
        class: 'small',
        onclick: () => act(() => navigator.clipboard.writeText(command), 'The command is copied.'),
      },
      'Copy',
    );
    return section(
      'Images with what the model reconstructs',
      el(
        'div',
        {class: 'row'},
        'Figure 2 of the paper has not been drawn of this trial. It takes a minute: ',
        code,
        // Browsers copy only on pages of this machine or of https.
        globalThis.isSecureContext && copy,
      ),
    );
  }
  const size = {width: String(drawn.width), height: String(drawn.height)};
  return section(
    'Images with what the model reconstructs',
    el('p', {class: 'dim'}, 'Figure 2 of the paper, as ', el('code', {}, command), ' drew it.'),
    el(
      'a',
      {href: drawn.url, target: '_blank', rel: 'noopener', class: 'drawn'},
      el('img', {
        src: drawn.url,
        ...size,
        loading: 'lazy',
        alt: `Figure 2 of trial ${name}: per class a normal image, a defective one, its reconstruction, ground truth and map`,
      }),
    ),
    first && el('p', {}, el('a', {href: first.url, target: '_blank', rel: 'noopener'}, 'Figure 1, as it was drawn')),
  );
}
