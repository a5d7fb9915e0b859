// Which page is shown, the keys, and the theme.

import {get} from '/assets/api.js';
import {el, failure, fill} from '/assets/dom.js';
import {cluster} from '/assets/page_cluster.js';
import {compare} from '/assets/page_compare.js';
import {job} from '/assets/page_job.js';
import {jobs} from '/assets/page_jobs.js';
import {showWho} from '/assets/signin.js';
import {submit} from '/assets/page_submit.js';
import {trial} from '/assets/page_trial.js';

// By the first part of the hash. A page is a function (element, {path, query, signal}); the signal ends with the page.
const pages = {
  jobs: ({path}) => (path[0] ? job : jobs),
  trials: () => trial,
  compare: () => compare,
  cluster: () => cluster,
  submit: () => submit,
};

const main = document.getElementById('main');
let shown = new AbortController();
let section = '';

async function show() {
  if (location.hash === '#main') return main.focus(); // the skip link is no page
  shown.abort();
  shown = new AbortController();
  const [route, search = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [name, ...path] = route.split('/').map(decodeURIComponent);
  const place = {path, query: new URLSearchParams(search), signal: shown.signal};
  const key = name || 'jobs';
  for (const link of document.querySelectorAll('header nav a')) {
    const here = link.hash === `#/${key}` || (link.hash === '#/jobs' && ['trials', 'compare'].includes(key));
    if (here) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  document.title = 'hivq';
  const root = el('div', {class: 'page'});
  fill(main, root);
  scrollTo(0, 0);
  if (section) main.focus({preventScroll: true}); // a new page is read from its beginning; not on the first visit
  section = key;
  const page = pages[key]?.(place);
  if (!page) {
    fill(root, el('h1', {}, 'No such page'), el('p', {}, el('a', {href: '#/jobs'}, 'All jobs')));
    return;
  }
  try {
    await page(root, place);
  } catch (error) {
    if (place.signal.aborted) return;
    if (!error.detail) console.error(error);
    root.append(
      failure(error),
      el('p', {}, el('button', {onclick: show}, 'Try again'), ' or go to ', el('a', {href: '#/jobs'}, 'all jobs')),
    );
  }
}

// --- theme ---

const themeButton = document.getElementById('theme');
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  themeButton.textContent = theme === 'dark' ? '☀' : '☾';
  themeButton.setAttribute('aria-label', theme === 'dark' ? 'Use the light theme' : 'Use the dark theme');
  themeButton.title = `${themeButton.getAttribute('aria-label')} (t)`;
  dispatchEvent(new Event('theme'));
}
function chosenTheme() {
  try {
    return localStorage.getItem('theme');
  } catch {
    return null;
  }
}
function toggleTheme() {
  const theme = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark';
  try {
    localStorage.setItem('theme', theme);
  } catch {
    // then it lasts as long as the page
  }
  setTheme(theme);
}
themeButton.addEventListener('click', toggleTheme);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', (system) => {
  if (!chosenTheme()) setTheme(system.matches ? 'dark' : 'light');
});
setTheme(document.documentElement.dataset.theme);

// --- keys ---

const keys = [
  ['/', 'to the filter'],
  ['g j', 'jobs'],
  ['g c', 'cluster'],
  ['g s', 'submit'],
  ['t', 'dark or light'],
  ['?', 'this help'],
  ['Esc', 'close, or leave a field'],
];

async function help() {
  if (document.querySelector('dialog[open]')) return;
  const version = el('span', {});
  const dialog = el(
    'dialog',
    {'aria-labelledby': 'help-title', onclose: () => dialog.remove()},
    el('h2', {id: 'help-title'}, 'Keys'),
    el(
      'dl',
      {class: 'keys'},
      keys.map(([key, what]) => [
        el(
          'dt',
          {},
          key.split(' ').map((each) => el('kbd', {}, each)),
        ),
        el('dd', {}, what),
      ]),
    ),
    el('p', {class: 'dim'}, version, el('a', {href: '/api/v1/openapi.yaml'}, 'the API')),
    el('form', {method: 'dialog', class: 'row end'}, el('button', {class: 'primary'}, 'Close')),
  );
  document.body.append(dialog);
  dialog.showModal();
  get('/version').then(
    (answer) => {
      version.textContent = `hivq ${answer.version} · `;
    },
    () => {},
  );
}
document.getElementById('help').addEventListener('click', help);

/// Menus (the choice of columns) close by Esc and by a press elsewhere.
function closeMenus(inside = null) {
  for (const menu of document.querySelectorAll('details.menu[open]')) {
    if (!menu.contains(inside)) menu.open = false;
  }
}
document.addEventListener('pointerdown', (event) => closeMenus(event.target));

let went = 0; // when g was pressed; a letter within a second says where to
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  if (event.key === 'Escape') closeMenus();
  const typing = event.target.closest('textarea, select, input:not([type=checkbox], [type=range], [type=radio])');
  if (typing) {
    if (event.key === 'Escape') event.target.blur();
    return;
  }
  const to = {j: '#/jobs', c: '#/cluster', s: '#/submit'}[event.key];
  if (performance.now() - went < 1000 && to) {
    location.hash = to;
    went = 0;
  } else if (event.key === 'g') {
    went = performance.now();
  } else if (event.key === '/') {
    document.querySelector('[data-filter]')?.focus();
    event.preventDefault();
  } else if (event.key === '?') {
    help();
  } else if (event.key === 't') {
    toggleTheme();
  }
});

addEventListener('hashchange', show);
if (!location.hash) history.replaceState(null, '', '#/jobs');
show();
get('/session').then(showWho, () => {});
