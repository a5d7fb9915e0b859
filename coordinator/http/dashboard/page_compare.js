// Trials side by side: the settings in which they differ, their metrics, a metric's curves, and their maps of test images.

import {get, poll} from '/assets/api.js';
import {chart, curvesOption} from '/assets/charts.js';
import {el, empty, failure, fill, headed, labelled, number, section, select, setOptions, signed} from '/assets/dom.js';
import {curveControls} from '/assets/curve_controls.js';
import {heatControls, overlay} from '/assets/heat.js';

const mostPictured = 8; // trials whose test images are shown

export async function compare(root, {query, signal}) {
  document.title = 'Compare · hivq';
  const field = el('input', {
    type: 'text',
    size: 30,
    value: query.getAll('trial').join(' '),
    dataset: {filter: ''},
    placeholder: 'such as 3/0 3/1',
    pattern: '\\s*\\d+/\\d+([\\s,]+\\d+/\\d+)*\\s*',
    title: 'Trials as JOB/NUMBER',
  });
  const form = el(
    'form',
    {
      class: 'row',
      onsubmit: (event) => {
        event.preventDefault();
        const trials = field.value.match(/\d+\/\d+/g) ?? [];
        location.hash = `#/compare?${trials.map((trial) => `trial=${trial}`).join('&')}`;
      },
    },
    labelled('Trials', field),
    el('button', {class: 'primary'}, 'Compare'),
  );
  root.append(el('div', {class: 'row'}, el('h1', {}, 'Compare'), el('span', {class: 'grow'}), form));

  const trials = [...new Set(query.getAll('trial'))].slice(0, 50);
  if (trials.length === 0) {
    root.append(
      empty('Nothing to compare yet: name trials above, or select some in a ', el('a', {href: '#/jobs'}, 'job'), '.'),
    );
    return;
  }

  const settings = el('div', {}),
    metrics = el('div', {});
  const parts = el('input', {type: 'checkbox', onchange: () => draw()});
  const names = select(['loss'], 'loss', () => look());
  const controls = curveControls(() => drawCurves());
  const figure = chart('Curves of the compared trials', signal, {
    height: 380,
    click: (event) => {
      if (event.seriesName) location.hash = `#/trials/${event.seriesName}`;
    },
  });
  const curvesNote = el('div', {});
  root.append(
    section('Settings that differ', settings),
    section(
      'Metrics',
      el('div', {class: 'row'}, labelled('by part too (auroc/bottle …)', parts, {class: 'control check'})),
      metrics,
    ),
    section(
      'Curves',
      el('div', {class: 'row'}, labelled('Metric', names), controls.element),
      curvesNote,
      figure.element,
    ),
  );

  const pictures = section('Test images');
  pictures.hidden = true;
  root.append(pictures);

  let found = null,
    curves = [];
  const heads = () => [null, ...found.trials.map((trial) => [el('a', {href: `#/trials/${trial}`}, trial)])];

  function draw() {
    if (!found) return;
    const text = (line) =>
      el(
        'tr',
        {},
        el('th', {scope: 'row'}, line.name),
        line.values.map((value, i) =>
          el('td', {class: value === line.values[0] || i === 0 ? 'right' : 'right differs'}, value || '–'),
        ),
      );
    fill(
      settings,
      headed('Settings that differ', heads(), [found.facts.map(text), found.settings.map(text)]),
      found.settings.length === 0 && el('p', {class: 'dim'}, 'They differ in no setting.'),
    );
    const shown = found.metrics.filter((line) => parts.checked || !line.name.includes('/'));
    const value = (line) =>
      el(
        'tr',
        {},
        el('th', {scope: 'row'}, line.name),
        line.values.map((each, i) =>
          el(
            'td',
            {class: 'right'},
            number(each),
            i > 0 &&
              each !== null &&
              line.values[0] !== null &&
              el('span', {class: 'delta'}, signed(each - line.values[0])),
          ),
        ),
      );
    fill(
      metrics,
      shown.length > 0
        ? headed('Metrics', heads(), shown.map(value))
        : empty('No metric has been reported yet.'),
      trials.length > 1 && el('p', {class: 'dim'}, 'Small: the difference to the first.'),
    );
  }

  function drawCurves() {
    fill(curvesNote, curves.length === 0 && empty(`None of these trials has ${names.value} over the steps.`));
    figure.element.hidden = curves.length === 0;
    figure.draw((shared) => curvesOption(shared, curves, controls.value()));
  }

  /// A row for each class and kind: the first picture that each trial has of it, which is not always the same image.
  let pictured = 0;
  async function drawPictures() {
    const shown = trials.slice(0, mostPictured);
    if (pictured === shown.length) return;
    const lists = await Promise.all(shown.map((trial) => get(`/trials/${trial}/pictures`, {}, signal)));
    const some = lists.filter((list) => list.pictures.length > 0);
    if (some.length === pictured) return;
    pictured = some.length;
    const kinds = new Map(); // by class and kind: the picture of each trial
    some.forEach((list, i) => {
      for (const picture of list.pictures) {
        const kind = `${picture.class} ${picture.anomalous ? 'anomalous' : 'normal'}`;
        if (!kinds.has(kind)) kinds.set(kind, some.map(() => null));
        kinds.get(kind)[i] ??= picture;
      }
    });
    const cell = (picture) =>
      el(
        'td',
        {class: 'pictured'},
        picture && [
          overlay(picture, `Anomaly map over ${picture.name}`),
          el('span', {class: 'delta'}, `score ${number(picture.score)}`),
          el('span', {class: 'delta'}, picture.name),
        ],
      );
    const links = some.map(({trial}) => el('a', {href: `#/trials/${trial}/images`}, trial));
    pictures.hidden = false;
    fill(
      pictures,
      el('h2', {}, 'Test images'),
      el('p', {class: 'dim'}, 'With their anomaly maps, each on the scale of its trial: of each class the image of median score.'),
      heatControls(pictures),
      headed(
        'Test images',
        [null, ...links],
        [...kinds].map(([kind, row]) => el('tr', {}, el('th', {scope: 'row'}, kind), row.map(cell))),
      ),
    );
  }

  const look = poll(
    async () => {
      try {
        found = await get('/compare', {trial: trials}, signal);
        draw();
        const first = await get(`/trials/${trials[0]}/metrics`, {points: 2}, signal);
        const known = Object.keys(first)
          .filter((name) => !name.startsWith('confusion/'))
          .sort();
        setOptions(names, known.length > 0 ? known : ['loss'], names.value);
        const jobs = [...new Set(trials.map((trial) => trial.split('/')[0]))];
        const numbers = (job) =>
          trials.filter((trial) => trial.startsWith(`${job}/`)).map((trial) => trial.split('/')[1]);
        const answers = await Promise.all(
          jobs.map((job) =>
            get(`/jobs/${job}/curves`, {metric: names.value, trial: numbers(job), points: 1000}, signal),
          ),
        );
        const byTrial = Object.assign({}, ...answers.map((answer) => answer.curves));
        curves = trials.filter((trial) => byTrial[trial]).map((trial) => ({name: trial, ...byTrial[trial]}));
        drawCurves();
        await drawPictures();
      } catch (error) {
        if (!found && !signal.aborted) {
          fill(settings, failure(error));
          return false;
        }
        throw error;
      }
      return true;
    },
    5000,
    signal,
  );
}
