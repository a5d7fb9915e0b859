// A trial: how it goes, its curves, what it scored by part, its test images, checkpoints, log and specification.

import {Problem, download, get, poll, post} from '/assets/api.js';
import {chart, curvesOption} from '/assets/charts.js';
import {curveControls} from '/assets/curve_controls.js';
import {
  act,
  badge,
  bytes,
  clock,
  duration,
  el,
  empty,
  failure,
  fill,
  headed,
  kept,
  number,
  progress,
  section,
  signed,
  when,
  yaml,
} from '/assets/dom.js';
import {tabs} from '/assets/tabs.js';
import {imagesView} from '/assets/trial_images.js';
import {stateOf} from '/assets/trial_columns.js';

const mostLines = 5000; // of the log that are shown; the newest

export async function trial(root, {path, signal}) {
  const [job, index] = path;
  if (!/^\d+$/.test(job) || !/^\d+$/.test(index))
    throw new Problem('No such trial', 'A trial is its job and its place there, such as #/trials/1/0.');
  const name = `${job}/${index}`;
  document.title = `Trial ${name} · hivq`;
  root.append(el('p', {class: 'dim', role: 'status'}, `Loading trial ${name} …`));
  let found = await get(`/trials/${name}`, {}, signal);
  // A study's trials run in a program of the user's own: they leave no log and no checkpoints here.
  const study = /^study:/m.test((await get(`/jobs/${job}`, {}, signal)).yaml);

  const head = header(job);
  const views = {
    curves: curvesView(name, signal),
    results: resultsView(),
    images: imagesView(name, signal),
    log: logView(name, signal),
    checkpoints: checkpointsView(name, () => look()),
    spec: specView(name, signal, study),
  };
  const all = [
    ['curves', 'Curves'],
    ['results', 'Results'],
    ['images', 'Images'],
    ['log', 'Log'],
    ['checkpoints', 'Checkpoints'],
    ['spec', study ? 'Parameters' : 'Specification'],
  ].filter(([view]) => !study || !['images', 'log', 'checkpoints'].includes(view));
  const chosen = tabs(
    all,
    path[2] ?? 'curves',
    (view) => {
      history.replaceState(null, '', view === 'curves' ? `#/trials/${name}` : `#/trials/${name}/${view}`);
      look();
    },
    Object.fromEntries(all.map(([view]) => [view, views[view].element])),
  );
  fill(root, head.element, chosen.element);

  const look = poll(
    async () => {
      found = await get(`/trials/${name}`, {}, signal);
      head.draw(found);
      try {
        await views[chosen.value()].draw(found);
      } catch (error) {
        if (signal.aborted || error.status === 0) throw error;
        const {element} = views[chosen.value()];
        element.querySelector('.failure')?.remove();
        element.prepend(failure(error));
      }
      return ['waiting', 'running', 'paused'].includes(found.state);
    },
    2000,
    signal,
  );
}

function header(job) {
  const title = el('h1'),
    why = el('p', {class: 'why', hidden: true}),
    facts = el('dl', {class: 'facts'}),
    settings = el('div', {class: 'chips'});
  return {
    element: el(
      'div',
      {class: 'head'},
      el(
        'nav',
        {'aria-label': 'Where you are', class: 'crumbs'},
        el('a', {href: '#/jobs'}, 'Jobs'),
        ' / ',
        el('a', {href: `#/jobs/${job}`}, `Job ${job}`),
      ),
      title,
      why,
      facts,
      settings,
    ),
    draw(trial) {
      fill(title, `${trial.trial} ${trial.variant} `, badge(stateOf(trial)));
      why.hidden = !trial.reason;
      fill(why, trial.reason);
      const fact = (name, ...value) => el('div', {}, el('dt', {}, name), el('dd', {}, value));
      const ran = trial.started ? (trial.ended ?? Date.now()) - trial.started : null;
      fill(
        facts,
        trial.total_steps > 0 && fact('step', progress(trial.step, trial.total_steps, 'Steps')),
        trial.total_steps === 0 && trial.checkpoint_step >= 0 && fact('newest checkpoint', `step ${trial.checkpoint_step}`),
        trial.phase && fact('phase', trial.phase),
        trial.gang && fact('gang', el('a', {href: '#/cluster'}, trial.gang)),
        trial.beside > 0 && fact('beside it', `${trial.beside} trials`),
        fact('attempts', String(trial.attempts)),
        fact('started', when(trial.started)),
        trial.ended && fact('ended', when(trial.ended)),
        fact('ran', duration(ran)),
      );
      fill(
        settings,
        Object.entries(trial.params).map(([key, value]) =>
          el('span', {class: 'chip'}, el('span', {class: 'dim'}, key), ' ', value),
        ),
      );
    },
  };
}

// Curves that belong together in one chart, in the order in which they are worth reading.
const first = ['auroc', 'loss', 'codebook_perplexity', 'codebook_live', 'codebook_distance'];
const health = {
  codebook_perplexity: 'Codebook perplexity: how many prototypes are used as if evenly',
  codebook_live: 'Live prototypes of the codebook',
  codebook_distance: 'Distance of tokens to their prototype',
};

function curvesView(name, signal) {
  const charts = new Map(); // by group: {figure, card, metrics}
  const controls = curveControls(() => charts.forEach(drawOne));
  const boxes = el('div', {class: 'chips'}),
    note = el('div'),
    cards = el('div', {class: 'halves'});
  const hidden = new Set(kept.get('groups hidden', []));
  let known = '';

  function drawOne({figure, metrics}) {
    figure.draw((shared) =>
      curvesOption(shared, metrics, {...controls.value(), zoomable: true, legend: metrics.length > 1}),
    );
  }

  function drawBoxes(groups) {
    if (known === groups.join()) return;
    known = groups.join();
    fill(
      boxes,
      groups.map((group) =>
        el(
          'label',
          {class: 'check chip'},
          el('input', {
            type: 'checkbox',
            checked: !hidden.has(group),
            onchange: (event) => {
              if (event.target.checked) hidden.delete(group);
              else hidden.add(group);
              kept.set('groups hidden', [...hidden]);
              charts.get(group).card.hidden = !event.target.checked;
            },
          }),
          group,
        ),
      ),
    );
  }

  return {
    element: el('div', {}, el('div', {class: 'row'}, controls.element), boxes, note, cards),
    async draw() {
      const all = await get(`/trials/${name}/metrics`, {points: 1000}, signal);
      const groups = new Map();
      for (const [metric, curve] of Object.entries(all)) {
        if (metric.startsWith('confusion/')) continue; // a matrix among the results
        const group = metric.split('/')[0];
        groups.set(group, [...(groups.get(group) ?? []), {name: metric, ...curve}]);
      }
      const place = (group) => (first.includes(group) ? first.indexOf(group) : first.length);
      const order = [...groups.keys()].sort((a, b) => place(a) - place(b) || a.localeCompare(b));
      fill(note, order.length === 0 && empty('Nothing reported yet; curves appear with the first step.'));
      drawBoxes(order);
      for (const group of order) {
        if (!charts.has(group)) {
          const figure = chart(`Curves of ${group}`, signal, {height: 260});
          charts.set(group, {figure, card: section(health[group] ?? group, figure.element)});
        }
        const one = charts.get(group);
        one.metrics = groups.get(group);
        one.card.hidden = hidden.has(group);
        if (!one.card.isConnected) cards.append(one.card);
        drawOne(one);
      }
    },
  };
}

/// Metrics of the last evaluation: the plain ones, those by part (auroc/bottle), and the classifier's confusion.
function resultsView() {
  const element = el('div');
  const rowHead = (text) => el('th', {scope: 'row'}, text);
  const figure = (text) => el('td', {class: 'right'}, text);

  function plain(trial) {
    const names = [...new Set([...Object.keys(trial.initial), ...Object.keys(trial.final)])]
      .filter((name) => !name.includes('/'))
      .sort();
    if (names.length === 0) return empty('Not evaluated yet.');
    const row = (name) => {
      const [before = null, after = null] = [trial.initial[name], trial.final[name]];
      const gain = before !== null && after !== null ? signed(after - before) : '';
      return el('tr', {}, rowHead(name), [number(before), number(after), gain].map(figure));
    };
    return headed('Metrics', ['metric', ['untrained'], ['trained'], ['difference']], names.map(row));
  }

  function byPart(trial) {
    const names = Object.keys(trial.final).filter(
      (name) => name.split('/').length === 2 && !name.startsWith('codebook_'),
    );
    if (names.length === 0) return null;
    const metrics = [...new Set(names.map((name) => name.split('/')[0]))].sort();
    const parts = [...new Set(names.map((name) => name.split('/')[1]))].sort();
    const row = (part) =>
      el(
        'tr',
        {},
        rowHead(part),
        metrics.map((metric) => figure(number(trial.final[`${metric}/${part}`]))),
      );
    return section('By part', headed('Metrics by part', ['part', ...metrics.map((metric) => [metric])], parts.map(row)));
  }

  function confusion(trial) {
    const cells = new Map(),
      classes = new Set();
    for (const [name, value] of Object.entries(trial.final)) {
      const [kind, truth, predicted] = name.split('/');
      if (kind !== 'confusion' || predicted === undefined) continue;
      cells.set(`${truth}/${predicted}`, value);
      classes.add(truth).add(predicted);
    }
    if (classes.size === 0) return null;
    const names = [...classes].sort((a, b) => a.localeCompare(b, 'en', {numeric: true}));
    const row = (truth) => {
      const whole = names.reduce((sum, predicted) => sum + (cells.get(`${truth}/${predicted}`) ?? 0), 0);
      return el(
        'tr',
        {},
        rowHead(truth),
        names.map((predicted) => {
          const count = cells.get(`${truth}/${predicted}`) ?? 0;
          const share = whole > 0 ? Math.round((100 * count) / whole) : 0;
          const kind = truth === predicted ? '--right' : '--wrong';
          return el(
            'td',
            {
              class: 'right',
              title: `${truth} taken for ${predicted}: ${count} of ${whole}`,
              style: {
                background:
                  count > 0 ? `color-mix(in srgb, var(${kind}) ${Math.round(10 + share * 0.35)}%, transparent)` : '',
              },
            },
            number(count),
          );
        }),
      );
    };
    return section(
      'Confusion of the classifier',
      el('p', {class: 'dim'}, 'Rows: the true class; columns: the predicted one.'),
      headed('Confusion', ['true \\ predicted', ...names.map((name) => [name])], names.map(row)),
    );
  }

  let drawn = '';
  return {
    element,
    draw(trial) {
      const key = JSON.stringify([trial.initial, trial.final]);
      if (key === drawn) return;
      drawn = key;
      fill(element, section('Metrics', plain(trial)), byPart(trial), confusion(trial));
    },
  };
}

function logView(name, signal) {
  const lines = el('pre', {
    class: 'log',
    tabindex: '0',
    role: 'log',
    'aria-label': `Log of trial ${name}`,
    'aria-live': 'off',
  });
  const follows = el('input', {type: 'checkbox', checked: true, onchange: () => toEnd()});
  const words = el('input', {type: 'search', placeholder: 'text', dataset: {filter: ''}, oninput: () => filter()});
  const note = el('div');
  let known = 0;
  const toEnd = () => {
    if (follows.checked) lines.scrollTop = lines.scrollHeight;
  };
  const fits = (line) => line.textContent.toLowerCase().includes(words.value.toLowerCase());
  function filter() {
    for (const line of lines.children) line.hidden = !fits(line);
    toEnd();
  }
  return {
    element: section(
      'Log',
      el(
        'div',
        {class: 'row'},
        el('label', {class: 'check'}, follows, 'follow'),
        el('label', {class: 'check'}, 'Filter ', words),
      ),
      note,
      lines,
    ),
    async draw() {
      const answer = await get(`/trials/${name}/logs`, {after: known}, signal);
      known += answer.lines.length;
      const fresh = answer.lines
        .slice(-mostLines)
        .map((line) => el('div', {}, el('span', {class: 'dim'}, clock(line.time)), ' ', line.text));
      for (const line of fresh) line.hidden = !fits(line);
      lines.append(...fresh);
      while (lines.childElementCount > mostLines) lines.firstElementChild.remove();
      lines.hidden = known === 0;
      fill(
        note,
        known === 0 && empty('The trial has logged nothing yet.'),
        known > mostLines && el('p', {class: 'dim'}, `The last ${mostLines} of ${known} lines.`),
      );
      if (fresh.length > 0) toEnd();
    },
  };
}

function checkpointsView(name, changed) {
  const element = el('div');
  let drawn = '';
  const pin = async (point) => {
    const verb = point.pinned ? 'unpin' : 'pin';
    if (
      await act(
        () => post(`/trials/${name}/checkpoints/${point.step}/${verb}`),
        point.pinned ? `Step ${point.step} may go again.` : `Step ${point.step} is kept.`,
      )
    )
      changed();
  };
  const row = (point) =>
    el(
      'tr',
      {},
      el('th', {scope: 'row', class: 'right'}, number(point.step)),
      el('td', {class: 'right'}, bytes(point.bytes)),
      el('td', {class: 'right'}, number(point.metric)),
      el('td', {}, when(point.at)),
      el('td', {}, point.pinned ? 'pinned' : ''),
      el(
        'td',
        {},
        el(
          'span',
          {class: 'row tight'},
          el(
            'button',
            {
              type: 'button',
              class: 'small',
              onclick: () => pin(point),
              'aria-label': `${point.pinned ? 'Unpin' : 'Pin'} the checkpoint of step ${point.step}`,
            },
            point.pinned ? 'Unpin' : 'Pin',
          ),
          el(
            'a',
            {
              class: 'button small',
              href: download(name, point.step),
              download: `trial-${name.replace('/', '-')}-step-${point.step}.safetensors`,
              'aria-label': `Download the checkpoint of step ${point.step}`,
            },
            'Download',
          ),
        ),
      ),
    );
  return {
    element,
    draw(trial) {
      const key = JSON.stringify(trial.checkpoints);
      if (key === drawn) return;
      drawn = key;
      fill(
        element,
        section(
          'Checkpoints',
          trial.checkpoints.length === 0
            ? empty('No checkpoint yet; ', el('code', {}, 'train.checkpoint_every'), ' says how often there is one.')
            : headed(
                'Checkpoints',
                [['step'], ['size'], ['metric'], 'at', 'kept', 'actions'],
                trial.checkpoints.toSorted((a, b) => b.step - a.step).map(row),
              ),
        ),
      );
    },
  };
}

function specView(name, signal, study) {
  const element = el('div', {}, el('p', {class: 'dim'}, 'Loading …'));
  let done = false;
  return {
    element,
    async draw(trial) {
      if (done) return;
      const spec = await get(`/trials/${name}/spec`, {}, signal);
      done = !study || Boolean(trial.ended); // what a running one asks for is told as it does
      const cell = (text) => el('td', {}, el('code', {}, text));
      fill(
        element,
        section(
          study ? 'What it asked for' : 'What differs from the defaults',
          spec.differences.length === 0
            ? empty('Nothing.')
            : headed(
                study ? 'Parameters' : 'Differences from the defaults',
                study ? ['parameter', 'value', 'range'] : ['field', 'here', 'default'],
                spec.differences.map((line) =>
                  el('tr', {}, el('th', {scope: 'row'}, line.key), cell(line.value), cell(line.default)),
                ),
              ),
        ),
        !study && section('Specification', yaml(spec.yaml, 'Specification')),
      );
    },
  };
}
