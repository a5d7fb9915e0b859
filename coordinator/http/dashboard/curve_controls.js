// Smoothing and a log axis, for every chart of curves; remembered from page to page.

import {el, kept, labelled} from '/assets/dom.js';

/// `element` for the page; `value()` is {smoothing, log}; `changed` is called when one is moved.
export function curveControls(changed) {
  const before = kept.get('curves', {smoothing: 0, log: false});
  const slider = el('input', {
    type: 'range',
    min: '0',
    max: '0.99',
    step: '0.01',
    value: String(before.smoothing),
    oninput: () => moved(),
  });
  const told = el('output', {}, String(before.smoothing));
  const log = el('input', {type: 'checkbox', checked: before.log, onchange: () => moved()});
  const value = () => ({smoothing: Number(slider.value), log: log.checked});
  let frame = 0;
  function moved() {
    told.textContent = slider.value;
    kept.set('curves', value());
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(changed);
  }
  return {
    value,
    element: el(
      'div',
      {class: 'row'},
      labelled('Smoothing', slider),
      told,
      labelled('log axis', log, {class: 'control check'}),
    ),
  };
}
