// Submitting a job: a specification that is checked while it is written.

import {get, post} from '/assets/api.js';
import {bytes, debounce, el, empty, failure, fill, kept, labelled, number, section, yaml} from '/assets/dom.js';

const start = `name: my-first

data:
  name: fashion-mnist
  normal_classes: [0, 1, 2, 3, 4]
  image_size: 64

train:
  epochs: 10
  batch_size: 16
  lr: 1.0e-3

sweep:
  search: grid
  metric: auroc
  goal: maximize
  parameters:
    train.seed: [0, 1, 2]
`;

/// A key of this submission alone, so that one that is sent twice is one job. (randomUUID exists on https only.)
const randomKey = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');

export async function submit(root, {query, signal}) {
  document.title = 'Submit · hivq';
  const from = query.get('from');
  let checked = null,
    key = randomKey();

  const source = editor(() => {
    key = randomKey();
    button.disabled = true;
    fill(state, 'Checking …');
    check();
  });
  const file = el('input', {
    type: 'file',
    accept: '.yaml,.yml,text/yaml',
    class: 'hidden-file',
    'aria-label': 'Load from a file',
    onchange: async () => {
      if (file.files[0]) source.set(await file.files[0].text());
      file.value = '';
    },
  });
  const other = el('input', {type: 'number', min: '1', size: 6, value: from ?? '', class: 'narrow'});
  const copy = el(
    'form',
    {
      class: 'row tight',
      onsubmit: (event) => {
        event.preventDefault();
        if (other.value) location.hash = `#/submit?from=${other.value}`;
      },
    },
    labelled('Copy from job', other),
    el('button', {class: 'small'}, 'Copy'),
  );
  const user = el('input', {
    type: 'text',
    size: 12,
    value: kept.get('user', ''),
    autocomplete: 'username',
    oninput: () => kept.set('user', user.value),
  });
  const button = el('button', {class: 'primary', type: 'button', disabled: true, onclick: () => send()}, 'Submit');
  const state = el('div', {role: 'status', class: 'state'}, '');
  const mistakes = el('ul', {class: 'mistakes', id: 'mistakes'});
  const estimate = el('div'),
    resolved = el('div');

  root.append(
    el('h1', {}, 'Submit a job'),
    el(
      'div',
      {class: 'row'},
      el('label', {class: 'button'}, 'Load a file', file),
      copy,
      labelled('As user', user),
      el('span', {class: 'grow'}),
      button,
    ),
    el(
      'div',
      {class: 'submit'},
      el('div', {}, source.element, state, mistakes),
      el('div', {}, section('What it would take', estimate), section('With every default', resolved)),
    ),
  );

  async function checkNow() {
    const text = source.text();
    if (!text.trim()) {
      source.mark([]);
      fill(mistakes);
      fill(estimate, empty('Nothing to check yet.'));
      fill(resolved);
      return fill(state, 'Write a specification, load a file, or copy a job’s.');
    }
    try {
      checked = await post('/validate', {yaml: text, signal});
    } catch (error) {
      if (!signal.aborted) fill(state, failure(error));
      return null;
    }
    if (text !== source.text()) return null; // what was typed since is on its way
    source.mark(checked.mistakes);
    button.disabled = !checked.valid;
    fill(
      state,
      checked.valid
        ? el('span', {class: 'good'}, '✓ Valid')
        : el(
            'span',
            {class: 'error-text'},
            `✕ ${checked.mistakes.length} ${checked.mistakes.length === 1 ? 'mistake' : 'mistakes'}`,
          ),
    );
    fill(
      mistakes,
      checked.mistakes.map((each) =>
        el(
          'li',
          {},
          each.line > 0
            ? el('button', {type: 'button', class: 'link', onclick: () => source.go(each.line)}, `line ${each.line}`)
            : 'whole',
          `: ${each.message}`,
        ),
      ),
    );
    fill(estimate, checked.estimate ? about(checked.estimate) : empty('Known once the specification is valid.'));
    fill(
      resolved,
      checked.yaml
        ? yaml(checked.yaml, 'Specification with every default')
        : empty('Known once the specification is valid.'),
    );
    return null;
  }
  const check = debounce(checkNow, 300);

  async function send() {
    button.disabled = true;
    try {
      const {job} = await post('/jobs', {
        yaml: source.text(),
        query: {key, file: 'dashboard.yaml', user: user.value.trim()},
      });
      kept.set('draft', '');
      location.hash = `#/jobs/${job}`;
    } catch (error) {
      button.disabled = false;
      fill(state, failure(error));
      if (error.mistakes?.length > 0) source.mark(error.mistakes);
    }
  }

  if (from) {
    const {yaml: text} = await get(`/jobs/${encodeURIComponent(from)}`, {}, signal);
    source.set(text);
  } else {
    source.set(kept.get('draft', '') || start);
  }
}

function about(estimate) {
  const hours = estimate.rank_hours;
  const time =
    hours === null
      ? 'not known'
      : hours < 1
        ? `${number(hours * 60, 1)} rank-minutes`
        : `${number(hours, 1)} rank-hours`;
  const fact = (name, value) => el('div', {}, el('dt', {}, name), el('dd', {}, value));
  return [
    el(
      'dl',
      {class: 'facts'},
      fact('trials', number(estimate.trials)),
      fact('time', time),
      fact('checkpoints', estimate.checkpoint_bytes === null ? 'not known' : bytes(estimate.checkpoint_bytes)),
      fact('measured on', `${estimate.similar_trials} trials like these`),
    ),
    estimate.note && el('p', {class: 'dim'}, estimate.note),
  ];
}

/// A text area with numbers at its lines; behind its text lies a copy that carries the marks and messages.
function editor(changed) {
  const area = el('textarea', {
    id: 'spec',
    spellcheck: false,
    autocomplete: 'off',
    autocapitalize: 'off',
    wrap: 'off',
    rows: 24,
    'aria-label': 'Specification in YAML',
    'aria-describedby': 'mistakes',
  });
  const numbers = el('div', {class: 'numbers', 'aria-hidden': 'true'}),
    behind = el('pre', {class: 'behind', 'aria-hidden': 'true'});
  const element = el('div', {class: 'editor'}, numbers, el('div', {class: 'paper'}, behind, area));
  let marks = new Map();

  function draw() {
    const lines = area.value.split('\n');
    fill(
      numbers,
      lines.map((_, i) => el('div', {class: marks.has(i + 1) ? 'wrong' : null}, String(i + 1))),
    );
    fill(
      behind,
      lines.map((line, i) => {
        const message = marks.get(i + 1);
        return el(
          'div',
          {class: message ? 'wrong' : null},
          el('span', {class: 'unseen'}, line || ' '),
          message && el('span', {class: 'message'}, `   ← ${message}`),
        );
      }),
    );
    scrolled();
  }
  function scrolled() {
    behind.style.transform = `translate(${-area.scrollLeft}px, ${-area.scrollTop}px)`;
    numbers.scrollTop = area.scrollTop;
  }
  function edited() {
    kept.set('draft', area.value);
    draw();
    changed();
  }
  area.addEventListener('input', edited);
  area.addEventListener('scroll', scrolled, {passive: true});
  area.addEventListener('keydown', (event) => {
    // Enter keeps the indentation; Tab leaves, as everywhere
    if (event.key !== 'Enter' || event.shiftKey || event.ctrlKey) return;
    const line = area.value.slice(0, area.selectionStart).split('\n').at(-1);
    const indent = line.match(/^ */)[0] + (/:\s*$/.test(line) ? '  ' : '');
    if (!indent) return;
    event.preventDefault();
    area.setRangeText(`\n${indent}`, area.selectionStart, area.selectionEnd, 'end');
    edited();
  });
  return {
    element,
    text: () => area.value,
    set(text) {
      area.value = text;
      marks = new Map();
      edited();
    },
    mark(mistakes) {
      marks = new Map();
      for (const {line, message} of mistakes)
        marks.set(line, marks.has(line) ? `${marks.get(line)}; ${message}` : message);
      area.setAttribute('aria-invalid', String(mistakes.length > 0));
      draw();
    },
    go(line) {
      const before = area.value
        .split('\n')
        .slice(0, line - 1)
        .reduce((sum, each) => sum + each.length + 1, 0);
      const length = area.value.split('\n')[line - 1]?.length ?? 0;
      area.focus();
      area.setSelectionRange(before, before + length);
      area.scrollTop = Math.max(0, (line - 6) * 20); // the line height in style.css
    },
  };
}
