// A job: how far it is and why not further, its trials, their curves, and what the metric depends on.

import {Problem, allTrials, follow, get} from '/assets/api.js';
import {chart, curvesOption, dimension} from '/assets/charts.js';
import {curveControls} from '/assets/curve_controls.js';
import {
  badge,
  debounce,
  duration,
  el,
  empty,
  failure,
  fill,
  labelled,
  progress,
  section,
  select,
  setOptions,
  when,
  yaml,
} from '/assets/dom.js';
import {jobButtons, priorityButton} from '/assets/job_actions.js';
import * as sweep from '/assets/sweep_charts.js';
import {table} from '/assets/table.js';
import {tabs} from '/assets/tabs.js';
import {allColumns, columnChoice, measured, otherMetrics, stateOf} from '/assets/trial_columns.js';

const mostCompared = 50,
  mostCurves = 200; // the server's limits are 50 and 500
const leastForImportance = 8;

export async function job(root, {path, signal}) {
  const number = Number(path[0]);
  if (!Number.isInteger(number) || number < 1)
    throw new Problem('No such job', `“${path[0]}” is no job: a job is a number, such as 1.`);
  document.title = `Job ${number} · hivq`;
  root.append(el('p', {class: 'dim', role: 'status'}, `Loading job ${number} …`));
  let detail = await get(`/jobs/${number}`, {}, signal);

  const head = header();
  const trials = trialsView(number, signal, () => look());
  const params = paramsView(number, signal);
  const spec = specView();
  const views = {trials, params, spec};
  const chosen = tabs(
    [
      ['trials', 'Trials'],
      ['params', 'Parameters'],
      ['spec', 'Specification'],
    ],
    path[1] ?? 'trials',
    (name) => {
      history.replaceState(null, '', name === 'trials' ? `#/jobs/${number}` : `#/jobs/${number}/${name}`);
      if (page) views[name].draw(detail, page);
    },
    Object.fromEntries(Object.entries(views).map(([name, view]) => [name, view.element])),
  );
  fill(root, head.element, chosen.element);

  let page = null;
  head.draw(detail, () => look());
  const look = follow(
    number,
    async () => {
      detail = await get(`/jobs/${number}`, {}, signal);
      head.draw(detail, () => look());
      try {
        page = await allTrials(number, trials.where(), signal);
        trials.filterWorks();
      } catch (error) {
        if (signal.aborted) throw error;
        trials.filterFails(error);
        if (error.status === 0) throw error;
      }
      if (page) await views[chosen.value()].draw(detail, page);
      const live = ['waiting', 'running', 'paused'].includes(detail.state);
      if (live) await head.explain(number, signal);
      return live;
    },
    signal,
  );
}

function header() {
  const title = el('h1'),
    facts = el('dl', {class: 'facts'}),
    why = el('p', {class: 'why', hidden: true}),
    actions = el('div', {class: 'row'});
  let drawn = '';
  return {
    element: el(
      'div',
      {class: 'head'},
      el('nav', {'aria-label': 'Where you are', class: 'crumbs'}, el('a', {href: '#/jobs'}, 'Jobs')),
      el('div', {class: 'row'}, title, el('span', {class: 'grow'}), actions),
      why,
      facts,
    ),
    draw(job, done) {
      const {yaml: text, ...rest} = job;
      if (drawn !== JSON.stringify(rest)) {
        // buttons that are the same keep the focus
        fill(title, `${job.job} ${job.name} `, badge(job.state));
        fill(
          actions,
          jobButtons(job, done),
          job.ended === null && priorityButton(job, done),
          el('a', {class: 'button small', href: `#/submit?from=${job.job}`}, 'Submit one like it'),
        );
      }
      drawn = JSON.stringify(rest);
      const note = job.reason || job.waiting;
      why.hidden = !note;
      fill(why, note);
      const ended = job.finished + job.failed + job.cancelled;
      const fact = (name, ...value) => el('div', {}, el('dt', {}, name), el('dd', {}, value));
      fill(
        facts,
        fact('trials', progress(ended, job.trials, 'Trials that have ended')),
        fact('running', String(job.running)),
        job.failed > 0 && fact('failed', String(job.failed)),
        job.cancelled > 0 && fact('cancelled', String(job.cancelled)),
        job.metric && fact('metric', `${job.metric}, ${job.goal}`),
        fact('user', job.user || '–'),
        job.project && fact('project', job.project),
        fact('priority', String(job.priority)),
        fact('submitted', when(job.submitted)),
        fact(job.ended ? 'took' : 'since', duration((job.ended ?? Date.now()) - job.submitted)),
      );
    },
    async explain(number, signal) {
      const {explanation} = await get(`/jobs/${number}/explain`, {}, signal);
      if (!explanation) return;
      why.hidden = false;
      fill(why, explanation);
    },
  };
}

/// The table of trials, and curves of the best or of those that are selected in it.
function trialsView(number, signal, refetch) {
  const selected = new Set();
  let page = null,
    detail = null,
    columns = [],
    choice = null,
    columnsFor = '',
    namesKnown = '';

  // curves
  const names = select(['loss'], 'loss', () => drawCurves());
  let metricChosen = false;
  names.addEventListener('change', () => {
    metricChosen = true;
  });
  const which = select(
    [
      ['best', 'best 50'],
      ['running', 'running'],
      ['selected', 'selected'],
    ],
    'best',
    () => drawCurves(),
  );
  const controls = curveControls(() => figure.draw((shared) => curvesOption(shared, curves, controls.value())));
  const figure = chart('Curves of the trials over the steps', signal, {
    height: 380,
    click: (event) => {
      if (event.componentType === 'series') location.hash = `#/trials/${event.seriesName}`;
    },
  });
  const note = el('div');
  let curves = [];

  // table
  const status = el('span', {class: 'dim', role: 'status'});
  const states = select([['', 'all']], '', () => drawTable());
  const where = el('input', {
    type: 'text',
    size: 26,
    dataset: {filter: ''},
    placeholder: 'train.lr < 0.01, auroc >= 0.9',
    'aria-describedby': 'where-error',
    spellcheck: false,
    autocomplete: 'off',
    oninput: debounce(() => refetch(), 500),
  });
  const whereError = el('span', {id: 'where-error', class: 'error-text', role: 'status'});
  const menu = el('span');
  const compare = el('a', {class: 'button small', role: 'link', 'aria-disabled': 'true'}, 'Compare');
  const clear = el(
    'button',
    {
      type: 'button',
      class: 'small',
      hidden: true,
      onclick: () => {
        selected.clear();
        selectionChanged();
        list.update(list.rows().slice(), (columns = columns.slice()));
      },
    },
    'Select none',
  );
  const list = table({
    label: `Trials of job ${number}`,
    key: (row) => row.trial,
    height: '75vh',
    signal,
    rowClass: (row) => (selected.has(row.trial) ? 'selected' : null),
  });
  const place = el('div', {}, el('p', {class: 'dim'}, 'Loading trials …'));

  const selectColumn = {
    id: 'select',
    title: 'select',
    plain: true,
    text: () => '',
    width: 2,
    cell: (row) =>
      el('input', {
        type: 'checkbox',
        checked: selected.has(row.trial),
        'aria-label': `Select trial ${row.trial}`,
        onchange: (event) => {
          if (event.target.checked) selected.add(row.trial);
          else selected.delete(row.trial);
          event.target.closest('tr').classList.toggle('selected', event.target.checked);
          selectionChanged();
        },
      }),
  };

  function selectionChanged() {
    const chosen = [...selected].slice(0, mostCompared);
    const enough = chosen.length > 1;
    if (enough) compare.href = `#/compare?${chosen.map((trial) => `trial=${trial}`).join('&')}`;
    else compare.removeAttribute('href');
    compare.setAttribute('aria-disabled', String(!enough));
    compare.textContent = chosen.length > 0 ? `Compare ${chosen.length}` : 'Compare';
    compare.title = enough ? '' : 'Select two trials or more';
    clear.hidden = selected.size === 0;
    if (which.value === 'selected') drawCurves();
  }
  selectionChanged();

  function drawColumns() {
    const next = allColumns(page);
    const same = JSON.stringify([next.map((column) => column.id), next.filter((column) => column.shown).length]);
    if (same === columnsFor) return;
    columnsFor = same;
    choice = columnChoice(`columns of ${number}`, next, () => {
      columns = [selectColumn, ...choice.shown()];
      drawTable();
    });
    columns = [selectColumn, ...choice.shown()];
    fill(menu, choice.element);
  }

  function drawTable() {
    if (!page) return;
    const counts = new Map();
    for (const row of page.trials) counts.set(stateOf(row), (counts.get(stateOf(row)) ?? 0) + 1);
    const now = states.value;
    setOptions(
      states,
      [
        ['', `all (${page.trials.length})`],
        ...[...counts].map(([state, count]) => [state, `${state} (${count})`]),
        ...(now && !counts.has(now) ? [[now, `${now} (0)`]] : []),
      ],
      now,
    );
    const rows = now ? page.trials.filter((row) => stateOf(row) === now) : page.trials;
    status.textContent = `${rows.length.toLocaleString('en')} of ${detail.trials.toLocaleString('en')} trials`;
    list.update(rows, columns);
    if (rows.length === 0) {
      fill(
        place,
        empty(
          where.value || now ? 'No trial is like that; change the filter or the state.' : 'This job has no trials yet.',
        ),
      );
    } else if (!list.element.isConnected) {
      fill(place, list.element);
      list.update(rows, columns); // now that its height is known
    }
  }

  /// Names of curves are learnt from one trial that has begun: those of a job all report the same.
  async function learnNames() {
    const begun = page.trials.find((row) => row.rank === 1) ?? page.trials.find((row) => row.started);
    if (!begun) return;
    const key = `${begun.trial} ${begun.state}`;
    if (key === namesKnown) return;
    const metrics = Object.keys(await get(`/trials/${begun.trial}/metrics`, {points: 2}, signal)).filter(
      (name) => !name.startsWith('confusion/'),
    );
    namesKnown = key;
    const own = page.metrics.filter((name) => metrics.includes(name));
    const others = metrics
      .filter((name) => !own.includes(name))
      .sort((a, b) => a.includes('/') - b.includes('/') || a.localeCompare(b));
    if (own.length + others.length === 0) return;
    setOptions(names, [...own, ...others], metricChosen ? names.value : (own[0] ?? 'loss'));
  }

  async function drawCurves() {
    if (!page) return;
    const all =
      which.value === 'selected'
        ? [...selected]
        : which.value === 'running'
          ? page.trials.filter((row) => row.state === 'running').map((row) => row.trial)
          : null;
    let answer = {curves: {}};
    if (all === null || all.length > 0) {
      const trial = all?.slice(0, mostCurves).map((each) => each.split('/')[1]);
      try {
        answer = await get(`/jobs/${number}/curves`, {metric: names.value, trial, points: 300}, signal);
      } catch (error) {
        if (!signal.aborted && error.status !== 0) fill(note, failure(error));
        return;
      }
    }
    const order = new Map(page.trials.map((row, i) => [row.trial, row.rank ?? page.trials.length + i]));
    curves = Object.entries(answer.curves)
      .map(([name, curve]) => ({name, ...curve}))
      .sort((a, b) => (order.get(a.name) ?? Infinity) - (order.get(b.name) ?? Infinity));
    figure.element.hidden = curves.length === 0;
    fill(
      note,
      curves.length === 0 &&
        empty(
          which.value === 'selected' && selected.size === 0
            ? 'Select trials in the table below to see their curves.'
            : which.value === 'running' && all.length === 0
              ? 'No trial runs now.'
              : `No trial has reported ${names.value} yet; curves appear with the first step.`,
        ),
    );
    figure.draw((shared) => curvesOption(shared, curves, controls.value()));
  }

  return {
    element: el(
      'div',
      {},
      section(
        'Learning curves',
        el('div', {class: 'row'}, labelled('Metric', names), labelled('Of', which), controls.element),
        note,
        figure.element,
      ),
      section(
        'Trials',
        el(
          'div',
          {class: 'row'},
          labelled('Where', where),
          labelled('State', states),
          menu,
          compare,
          clear,
          el('span', {class: 'grow'}),
          status,
        ),
        whereError,
        place,
      ),
    ),
    where: () =>
      where.value
        .split(/,|\band\b/)
        .map((each) => each.trim())
        .filter((each) => /(=|<|>).+/.test(each)),
    filterWorks() {
      where.removeAttribute('aria-invalid');
      whereError.textContent = '';
    },
    filterFails(error) {
      where.setAttribute('aria-invalid', 'true');
      whereError.textContent = error.detail ?? error.message;
    },
    async draw(nextDetail, nextPage) {
      [detail, page] = [nextDetail, nextPage];
      drawColumns();
      drawTable();
      await learnNames();
      await drawCurves();
    },
  };
}

/// How the metric depends on the parameters.
function paramsView(number, signal) {
  let page = null,
    detail = null,
    importanceOf = '',
    importanceFound = null,
    importanceError = null;
  const open = (event) => {
    const row = page?.trials[event.data?.at?.(-1)];
    if (row && event.seriesType !== 'custom') location.hash = `#/trials/${row.trial}`;
  };
  const lines = chart('Parallel coordinates: parameters and metric of every trial', signal, {height: 420});
  const bars = chart('Importance of the parameters', signal, {height: 340});
  const dots = chart('Scatter of two values of the trials', signal, {height: 360, click: open});
  const heat = chart('Mean of the metric over two parameters', signal, {height: 360, click: open});
  const front = chart('Pareto front', signal, {height: 380, click: open});
  const touched = new Set(); // selects that the user has changed
  const pick = (draw) => {
    const element = select([], '', draw);
    element.addEventListener('change', () => touched.add(element));
    return element;
  };
  /// Options, and a choice that holds until the user makes another.
  const offer = (element, options, choice) =>
    setOptions(element, options, touched.has(element) ? element.value : choice);
  const metric = pick(() => draw());
  const dotX = pick(() => drawDots()),
    dotY = pick(() => drawDots()),
    dotColour = pick(() => drawDots());
  const heatX = pick(() => drawHeat()),
    heatY = pick(() => drawHeat());
  const frontX = pick(() => drawFront()),
    frontY = pick(() => drawFront());
  const barsNote = el('div');
  const frontCard = section(
    'Pareto front',
    el('div', {class: 'row'}, labelled('x', frontX), labelled('y', frontY)),
    front.element,
  );
  frontCard.hidden = true;
  const heatCard = section(
    'Two parameters',
    el('div', {class: 'row'}, labelled('x', heatX), labelled('y', heatY)),
    heat.element,
  );
  const charts = el(
    'div',
    {},
    el('div', {class: 'row'}, labelled('Metric', metric)),
    frontCard,
    section(
      'Parallel coordinates',
      el('p', {class: 'dim'}, 'Drag along an axis to see only the trials there; click it to see all.'),
      el('div', {class: 'wide', tabindex: '0', role: 'region', 'aria-label': 'Parallel coordinates'}, lines.element),
    ),
    el(
      'div',
      {class: 'halves'},
      section('Importance', barsNote, bars.element),
      section(
        'Scatter',
        el('div', {class: 'row'}, labelled('x', dotX), labelled('y', dotY), labelled('Colour', dotColour)),
        dots.element,
      ),
    ),
    heatCard,
  );
  const none = el('div');

  const valueOf = (name) => (page.params.includes(name) ? (row) => row.params[name] : (row) => measured(row, name));
  const dim = (name) => dimension(name, page.trials.map(valueOf(name)));

  function drawDots() {
    const [x, y] = [dim(dotX.value), dim(dotY.value)];
    const colour = dotColour.value ? dim(dotColour.value) : null;
    dots.draw((shared) => sweep.scatter(shared, page.trials, x, y, colour));
  }
  function drawHeat() {
    const [x, y, value] = [dim(heatX.value), dim(heatY.value), dim(metric.value)];
    heat.draw((shared) => sweep.heatMap(shared, page.trials, x, y, value));
  }
  function drawFront() {
    const [x, y] = [dim(frontX.value), dim(frontY.value)];
    front.draw((shared) => sweep.pareto(shared, page.trials, x, y, page.metrics.length === 2));
  }
  function draw() {
    const value = dim(metric.value);
    const dims = page.params.slice(0, 14).map(dim);
    lines.element.style.minWidth = `${160 + 75 * dims.length}px`; // a phone scrolls
    lines.draw((shared) => sweep.parallel(shared, dims, value, detail.goal !== 'minimize'));
    drawDots();
    heatCard.hidden = page.params.length < 2;
    if (page.params.length > 1) drawHeat();
    frontCard.hidden = page.metrics.length < 2;
    if (page.metrics.length > 1) drawFront();
  }

  /// True where it is known better than before.
  async function drawImportance() {
    let news = false;
    const enough = detail.finished >= leastForImportance;
    const key = String(detail.finished);
    if (enough && key !== importanceOf) {
      try {
        importanceFound = await get(`/jobs/${number}/importance`, {}, signal);
        importanceError = null;
      } catch (error) {
        if (signal.aborted || error.status === 0) throw error;
        [importanceFound, importanceError] = [null, error];
      }
      importanceOf = key;
      news = true;
    }
    bars.element.hidden = !importanceFound;
    if (importanceFound) {
      fill(
        barsNote,
        el(
          'p',
          {class: 'dim'},
          `Shares of the variance of ${importanceFound.metric} over ${importanceFound.trials} trials (fANOVA)`,
          importanceFound.explained !== null && `; explained: ${Math.round(importanceFound.explained * 100)} %`,
          '.',
        ),
      );
      bars.draw((shared) => sweep.importance(shared, importanceFound));
    } else {
      fill(
        barsNote,
        importanceError ? failure(importanceError) : empty(`Known once ${leastForImportance} trials have finished.`),
      );
    }
    return news;
  }

  return {
    element: el('div', {}, none, charts),
    async draw(nextDetail, nextPage) {
      [detail, page] = [nextDetail, nextPage];
      const nothing = page.params.length === 0;
      charts.hidden = nothing;
      fill(
        none,
        nothing &&
          empty(
            'The trials of this job differ in no parameter. A sweep with ',
            el('code', {}, 'parameters:'),
            ' shows here what its metric depends on.',
          ),
      );
      if (nothing) return;
      const metrics = [...new Set([...page.metrics, ...otherMetrics(page), 'duration'])];
      setOptions(metric, metrics);
      const both = [...page.params, ...metrics];
      const offerAll = () => {
        const alone = (importanceFound?.shares ?? []).filter((share) => !share.with).map((share) => share.parameter);
        const [one, two = one] = [...new Set([...alone, ...page.params])].filter((name) => page.params.includes(name));
        offer(dotX, both, one);
        offer(dotY, both, metrics[0]);
        offer(dotColour, [['', 'none'], ...both], two);
        offer(heatX, page.params, one);
        offer(heatY, page.params, two);
        offer(frontX, page.metrics, page.metrics[0]);
        offer(frontY, page.metrics, page.metrics[1]);
      };
      offerAll();
      draw();
      if (!(await drawImportance())) return;
      const before = [dotX, dotColour, heatX, heatY].map((each) => each.value).join();
      offerAll();
      if (before === [dotX, dotColour, heatX, heatY].map((each) => each.value).join()) return;
      drawDots();
      if (page.params.length > 1) drawHeat();
    },
  };
}

function specView() {
  const element = el('div');
  let drawn = '';
  return {
    element,
    draw(detail) {
      if (drawn === detail.yaml) return;
      drawn = detail.yaml;
      fill(
        element,
        section(
          'Specification',
          el(
            'p',
            {class: 'dim'},
            'With every default. ',
            el('a', {href: `#/submit?from=${detail.job}`}, 'Submit one like it'),
          ),
          yaml(detail.yaml, 'Specification'),
        ),
      );
    },
  };
}
