// Elements, and how values read. Text from the server only ever becomes text nodes, never HTML.

/// An element: properties by name (`class`, `dataset`, `on…` and attributes), then children: nodes, text, lists, null.
export function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key === 'dataset') Object.assign(element.dataset, value);
    else if (key === 'style') Object.assign(element.style, value);
    else if (key in element && typeof value !== 'string') element[key] = value;
    else element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/// Replaces what an element holds, unless `text` says the same: then focus, selection and scrolling stay.
export function fill(element, ...children) {
  element.replaceChildren(
    ...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

let ids = 0;
/// A control with its label; `hint` is a word more for those who need it.
export function labelled(text, control, properties = {}) {
  control.id ||= `control-${++ids}`;
  return el('div', {class: 'control', ...properties}, el('label', {for: control.id}, text), control);
}

/// A select over texts or [value, text] pairs.
export function select(options, value, changed) {
  const element = el('select', {onchange: () => changed?.(element.value)});
  setOptions(element, options, value);
  return element;
}

/// New options for a select; the choice stays where it still exists.
export function setOptions(element, options, value = element.value) {
  const pairs = options.map((each) => (Array.isArray(each) ? each : [each, each]));
  const same = JSON.stringify(pairs);
  if (element.dataset.options !== same) {
    element.dataset.options = same;
    fill(
      element,
      pairs.map(([key, text]) => el('option', {value: key}, text)),
    );
  }
  if (pairs.some(([key]) => String(key) === String(value))) element.value = value;
}

const marks = {
  waiting: '○',
  paused: '‖',
  running: '●',
  finished: '✓',
  failed: '✕',
  cancelled: '⊘',
  'stopped early': '◐',
  idle: '○',
  drained: '‖',
  away: '✕',
};

/// A state as mark and word, so that colour is not all that tells it.
export function badge(state) {
  const mark = el('span', {'aria-hidden': 'true'}, marks[state] ?? '·');
  return el('span', {class: 'badge', dataset: {state}}, mark, state);
}

export function progress(done, total, label) {
  const share = total > 0 ? Math.min(1, done / total) : 0;
  return el(
    'span',
    {class: 'progress'},
    el('progress', {value: String(share), max: '1', 'aria-label': label}),
    el('span', {}, `${done}/${total}`),
  );
}

/// What a page shows where there is nothing: what that means and what to do.
export function empty(...children) {
  return el('p', {class: 'empty'}, children);
}

export function failure(error) {
  return el(
    'div',
    {class: 'failure', role: 'alert'},
    el('strong', {}, error.title ?? 'That did not work'),
    ' ',
    el('span', {}, error.detail ?? error.message),
  );
}

/// A section with a heading, folded away on demand.
export function section(title, ...children) {
  return el('section', {class: 'card'}, el('h2', {}, title), children);
}

/// A table with a head, which scrolls sideways by itself. `heads`: texts or nodes, those of figures in a list, [text];
/// `rows`: of the body, or of several bodies in lists.
export function headed(label, heads, rows, {wrap = false} = {}) {
  const head = (each) =>
    el('th', {scope: 'col', class: Array.isArray(each) ? 'right' : null}, Array.isArray(each) ? each[0] : each);
  const bodies = rows.some(Array.isArray) ? rows : [rows];
  return el(
    'div',
    {class: 'scroll', tabindex: '0', role: 'region', 'aria-label': label},
    el(
      'table',
      {class: wrap ? 'plain-table wrap' : 'plain-table'},
      el('thead', {}, el('tr', {}, heads.map((each) => (each === null ? el('td') : head(each))))),
      bodies.filter((body) => body.length > 0).map((body) => el('tbody', {}, body)),
    ),
  );
}

/// Asks before something is done. Resolves to the form's values, or null where it was called off.
export function ask({title, text, yes, danger = false, fields = []}) {
  const form = el(
    'form',
    {method: 'dialog'},
    el('h2', {id: 'ask-title'}, title),
    el('p', {}, text),
    fields,
    el(
      'div',
      {class: 'row end'},
      el('button', {value: 'no', type: 'submit', formnovalidate: true}, 'No, go back'),
      el('button', {value: 'yes', type: 'submit', class: danger ? 'danger' : 'primary'}, yes),
    ),
  );
  const dialog = el('dialog', {'aria-labelledby': 'ask-title'}, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      const values = Object.fromEntries(new FormData(form));
      dialog.remove();
      resolve(dialog.returnValue === 'yes' ? values : null);
    });
  });
}

/// Tells in the corner what came of an action.
export function say(text, bad = false) {
  const toast = el('div', {class: bad ? 'toast bad' : 'toast'}, text);
  document.getElementById('said').append(toast);
  setTimeout(() => toast.remove(), bad ? 12000 : 5000);
}

/// Does something that changes the cluster, and tells how it went. True where it did.
export async function act(action, done) {
  try {
    const answer = await action();
    say(typeof done === 'function' ? done(answer) : done);
    return true;
  } catch (error) {
    say(error.detail ?? error.message, true);
    return false;
  }
}

/// Calls `action` once `wait` ms have passed without another call.
export function debounce(action, wait) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...given), wait);
  };
}

// --- values as text ---

export function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return value.toLocaleString('en');
  const size = Math.abs(value);
  if (size >= 1e-3 && size < 1e6) return value.toFixed(size >= 1000 ? 1 : digits);
  return value.toExponential(digits - 1);
}

/// A difference, with its sign.
export function signed(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return '';
  if (value === 0) return '±0';
  return (value < 0 ? '−' : '+') + number(Math.abs(value), digits);
}

/** `1 gang`, `3 gangs`. */
export function counted(count, noun) {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

export function duration(ms) {
  if (ms === null || ms === undefined || ms < 0) return '–';
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function bytes(count) {
  if (count === null || count === undefined) return '–';
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let unit = 0;
  for (; count >= 1000 && unit < units.length - 1; ++unit) count /= 1000;
  return `${unit === 0 || count >= 100 ? Math.round(count) : count.toFixed(1)} ${units[unit]}`;
}

const two = (value) => String(value).padStart(2, '0');

/// Local time, as short as it can be told: without the day where that is today, the year where it is this.
export function clock(ms) {
  if (!ms) return '–';
  const at = new Date(ms);
  const today = new Date();
  const minute = `${two(at.getHours())}:${two(at.getMinutes())}`;
  if (at.toDateString() === today.toDateString()) return `${minute}:${two(at.getSeconds())}`;
  const day = `${two(at.getMonth() + 1)}-${two(at.getDate())} ${minute}`;
  return at.getFullYear() === today.getFullYear() ? day : `${at.getFullYear()}-${day}`;
}

/// A time that tells more when pointed at.
export function when(ms) {
  return ms ? el('time', {datetime: new Date(ms).toISOString(), title: new Date(ms).toString()}, clock(ms)) : '–';
}

/// Specifications, keys and comments apart. Not a parser: a line at a time is enough to read by.
export function yaml(text, label) {
  const lines = text
    .replace(/\n$/, '')
    .split('\n')
    .map((line) => {
      const [, code, comment] = line.match(/^((?:[^#"']|"[^"]*"|'[^']*'|(?<=\S)#)*)(#.*)?.*$/);
      if (code + (comment ?? '') !== line) return [line, '\n'];
      const key = code.match(/^(\s*(?:- )?)([^\s:][^:]*)(:(?:\s.*|$))/);
      return [
        key ? [key[1], el('span', {class: 'key'}, key[2]), key[3]] : code,
        comment ? el('span', {class: 'comment'}, comment) : null,
        '\n',
      ];
    });
  return el('pre', {class: 'yaml', tabindex: '0', role: 'region', 'aria-label': label}, lines);
}

/// What is kept in the browser from visit to visit; forgotten where storage is forbidden.
export const kept = {
  get(key, otherwise = null) {
    try {
      return JSON.parse(localStorage.getItem(key)) ?? otherwise;
    } catch {
      return otherwise;
    }
  },
  set(key, value) {
    try {
      localStorage.setItem(key, JSON.stringify(value));
    } catch {
      // it is a convenience only
    }
  },
};
