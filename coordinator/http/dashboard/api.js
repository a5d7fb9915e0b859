// The coordinator's REST API (/api/v1/openapi.yaml), whether it answers, and reading it again and again.

import {signIn} from '/assets/signin.js';

const base = '/api/v1';

/// What the coordinator (or the way to it) says is wrong: RFC 9457's title and detail.
export class Problem extends Error {
  constructor(title, detail, status = 0, mistakes = []) {
    super(detail);
    Object.assign(this, {title, detail, status, mistakes});
  }
}

// Whether the coordinator answers; the banner and the pollers listen.
let reachable = true;
function setReachable(now) {
  if (now === reachable) return;
  reachable = now;
  document.getElementById('lost').hidden = now;
  if (now) dispatchEvent(new Event('reachable'));
  else setTimeout(knock, 2000);
}

async function knock() {
  try {
    await request('/version');
  } catch {
    // still away
  }
  if (!reachable) setTimeout(knock, 2000);
}

async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(base + path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    setReachable(false);
    throw new Problem('No answer', 'The coordinator does not answer; is hivq-coordinator running?');
  }
  const type = response.headers.get('Content-Type') ?? '';
  if ([502, 503, 504].includes(response.status) && !type.includes('json')) {
    // of a proxy before it
    setReachable(false);
    throw new Problem('No answer', 'The coordinator does not answer.', response.status);
  }
  setReachable(true);
  if (response.status === 401) {
    await signIn();
    return request(path, options);
  }
  const body = type.includes('json') ? await response.json() : await response.text();
  if (response.ok) return body;
  throw new Problem(
    body.title ?? response.statusText,
    body.detail ?? `Status ${response.status} of ${path}`,
    response.status,
    body.mistakes ?? [],
  );
}

/// A path with what is asked: lists become repeated names, null and '' are left out.
export function url(path, query = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const each of [value].flat()) {
      if (each !== null && each !== undefined && each !== '') search.append(name, each);
    }
  }
  return search.size > 0 ? `${path}?${search}` : path;
}

export const get = (path, query, signal) => request(url(path, query), {signal});

export function post(path, {query, json, yaml, signal} = {}) {
  const headers = {};
  if (json !== undefined) headers['Content-Type'] = 'application/json';
  if (yaml !== undefined) headers['Content-Type'] = 'application/yaml';
  const body = json !== undefined ? JSON.stringify(json) : yaml;
  return request(url(path, query), {method: 'POST', headers, body, signal});
}

export const download = (trial, step) => `${base}/trials/${trial}/checkpoints/${step}`;

/// Rows of a question in SQL, as objects by column.
export async function query(sql, signal) {
  const answer = await post('/query', {json: {sql}, signal});
  const rows = answer.rows.map((row) => Object.fromEntries(answer.columns.map((name, i) => [name, row[i]])));
  return {rows, complete: answer.complete};
}

/// All trials of a job that meet `where`, in pages as large as the server gives.
export async function allTrials(job, where, signal) {
  const most = 10000;
  const all = await get(`/jobs/${job}/trials`, {where, limit: most}, signal);
  while (all.trials.length < all.total) {
    const page = await get(`/jobs/${job}/trials`, {where, limit: most, offset: all.trials.length}, signal);
    if (page.trials.length === 0) break;
    all.trials.push(...page.trials);
  }
  return all;
}

/// Calls `read` now, and again `period` ms after it has ended, while the page is shown and seen; a slow read is
/// repeated more rarely. `read` returns false where there is nothing more to come. Returns a function that reads at
/// once.
export function poll(read, period, signal) {
  let timer = 0,
    busy = false,
    again = false,
    over = false;
  async function turn() {
    clearTimeout(timer);
    if (signal.aborted || over) return;
    if (busy) {
      again = true;
      return;
    }
    if (document.hidden) return; // visibilitychange calls again
    busy = true;
    const begun = performance.now();
    try {
      over = (await read()) === false;
    } catch (error) {
      if (error.name !== 'AbortError' && !(error instanceof Problem)) console.error(error);
    }
    busy = false;
    if (signal.aborted || over) return;
    const pause = again ? 0 : Math.max(period, 3 * (performance.now() - begun));
    again = false;
    timer = setTimeout(turn, pause);
  }
  const wake = () => {
    if (!document.hidden) turn();
  };
  document.addEventListener('visibilitychange', wake, {signal});
  addEventListener('reachable', wake, {signal});
  signal.addEventListener('abort', () => clearTimeout(timer));
  turn();
  return () => {
    over = false;
    turn();
  };
}

/// Calls `changed` when a job has: told by server-sent events, else asked for every two seconds. At most once a second,
/// and never more than a quarter of the time, however long `changed` takes. Ends when the job has.
export function follow(job, changed, signal) {
  let source = null,
    timer = 0,
    busy = false,
    dirty = false,
    next = 0,
    ended = false;

  async function turn() {
    if (busy || signal.aborted || document.hidden) return;
    clearTimeout(timer);
    const wait = next - performance.now();
    if (wait > 0) {
      timer = setTimeout(turn, wait);
      return;
    }
    busy = true;
    dirty = false;
    const begun = performance.now();
    try {
      ended = (await changed()) === false;
    } catch (error) {
      if (error.name !== 'AbortError' && !(error instanceof Problem)) console.error(error);
    }
    busy = false;
    next = performance.now() + Math.max(1000, 3 * (performance.now() - begun));
    if (ended && !dirty) close();
    else if (dirty) turn();
    else if (source?.readyState !== EventSource.OPEN) timer = setTimeout(turn, 2000);
  }

  function mark() {
    dirty = true;
    turn();
  }

  function open() {
    if (source || ended || signal.aborted || document.hidden) return;
    source = new EventSource(`${base}/jobs/${job}/events`);
    source.addEventListener('changed', mark);
    source.addEventListener('ended', () => {
      close();
      mark();
    });
    source.addEventListener('error', () => {
      // the browser tries again by itself, and we ask meanwhile
      if (!busy && !ended) timer = setTimeout(turn, 2000);
    });
  }

  function close() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  function seen() {
    if (document.hidden) return close(); // a browser has few connections to a server; do not hold one unseen
    open();
    mark();
  }

  document.addEventListener('visibilitychange', seen, {signal});
  addEventListener('reachable', seen, {signal});
  signal.addEventListener('abort', close);
  turn();
  open();
  return () => {
    // something was done here: look at once
    next = 0;
    ended = false;
    open();
    mark();
  };
}
