// What a job's table of trials can show, and values of trials by name.

import {badge, clock, duration, el, kept, number, progress, when} from '/assets/dom.js';

export const stateOf = (row) => (row.stopped_early ? 'stopped early' : row.state);

/// A metric of a trial as last measured.
export function measured(row, name) {
  if (name === 'duration') return row.duration / 1000;
  return row.final[name] ?? null;
}

/// Metrics that trials have beside the job's own, without those of parts (auroc/bottle).
export function otherMetrics(page) {
  const names = new Set();
  for (const row of page.trials.slice(0, 100)) Object.keys(row.final).forEach((name) => names.add(name));
  return [...names].filter((name) => !name.includes('/') && !page.metrics.includes(name)).sort();
}

const asNumber = (text) => (text !== undefined && text !== '' && Number.isFinite(Number(text)) ? Number(text) : text);

/// All columns; those of `shown: true` are there unless the user chose otherwise.
export function allColumns(page) {
  const some = (test) => page.trials.some(test);
  const metric = (name, shown) => ({
    id: `metric:${name}`,
    title: name,
    right: true,
    shown,
    down: true,
    value: (row) => measured(row, name),
    text: (row) => number(measured(row, name)),
  });
  const param = (name, i) => ({
    id: `param:${name}`,
    title: name,
    right: true,
    shown: i < 10,
    most: 24,
    value: (row) => asNumber(row.params[name]),
    text: (row) => row.params[name] ?? '',
  });
  const others = otherMetrics(page);
  return [
    {
      id: 'rank',
      title: 'rank',
      right: true,
      shown: true,
      value: (row) => row.rank,
      text: (row) => String(row.rank ?? ''),
    },
    {
      id: 'trial',
      title: 'trial',
      shown: true,
      value: (row) => Number(row.trial.split('/')[1]),
      text: (row) => row.trial,
      cell: (row) => el('a', {href: `#/trials/${row.trial}`}, row.trial),
    },
    {id: 'variant', title: 'variant', shown: some((row) => row.variant !== ''), most: 40, text: (row) => row.variant},
    {
      id: 'state',
      title: 'state',
      shown: true,
      width: 15,
      text: stateOf,
      cell: (row) => el('span', {title: row.reason || null}, badge(stateOf(row))),
    },
    {
      id: 'front',
      title: 'front',
      shown: page.metrics.length > 1,
      text: (row) => (row.on_front ? '★ on it' : ''),
      value: (row) => (row.on_front ? 0 : 1),
    },
    ...page.metrics.map((name) => metric(name, true)),
    {
      id: 'untrained',
      title: 'untrained',
      right: true,
      shown: true,
      value: (row) => row.untrained,
      text: (row) => number(row.untrained),
    },
    ...page.params.map(param),
    {
      id: 'step',
      title: 'step',
      shown: some((row) => row.total_steps > 0),
      width: 18,
      value: (row) => row.step,
      text: (row) => `${row.step}/${row.total_steps}`,
      cell: (row) => (row.total_steps > 0 ? progress(row.step, row.total_steps, `Steps of trial ${row.trial}`) : ''),
    },
    {
      id: 'duration',
      title: 'duration',
      right: true,
      shown: true,
      value: (row) => row.duration,
      text: (row) => (row.started ? duration(row.duration) : ''),
    },
    ...others.map((name) => metric(name, false)),
    {
      id: 'started',
      title: 'started',
      shown: false,
      width: 13,
      value: (row) => row.started,
      text: (row) => clock(row.started),
      cell: (row) => when(row.started),
    },
    {
      id: 'attempts',
      title: 'attempts',
      right: true,
      shown: false,
      value: (row) => row.attempts,
      text: (row) => String(row.attempts),
    },
    {id: 'gang', title: 'gang', shown: false, text: (row) => row.gang},
    {
      id: 'feasible',
      title: 'feasible',
      shown: some((row) => !row.feasible),
      text: (row) => (row.feasible ? 'yes' : 'no'),
    },
    {id: 'reason', title: 'reason', shown: some((row) => row.reason !== ''), most: 60, text: (row) => row.reason},
  ];
}

/// The chooser of columns; `changed` is called with the choice, which is remembered by `name`.
export function columnChoice(name, columns, changed) {
  const chosen = kept.get(name, {});
  const shown = (column) => chosen[column.id] ?? column.shown;
  const boxes = columns.map((column) =>
    el(
      'label',
      {class: 'check'},
      el('input', {
        type: 'checkbox',
        checked: shown(column),
        onchange: (event) => {
          chosen[column.id] = event.target.checked;
          kept.set(name, chosen);
          changed();
        },
      }),
      column.title,
    ),
  );
  return {
    shown: () => columns.filter(shown),
    element: el('details', {class: 'menu'}, el('summary', {}, 'Columns'), el('div', {class: 'pop'}, boxes)),
  };
}
