// All jobs: what was submitted and how far it is.

import {get, poll} from '/assets/api.js';
import {
  badge,
  clock,
  debounce,
  duration,
  el,
  empty,
  failure,
  fill,
  labelled,
  progress,
  select,
  when,
} from '/assets/dom.js';
import {jobButtons} from '/assets/job_actions.js';
import {table} from '/assets/table.js';

const most = 1000;
const ended = (job) => job.finished + job.failed + job.cancelled;
const took = (job) => (job.submitted ? (job.ended ?? Date.now()) - job.submitted : null);

export async function jobs(root, {query, signal}) {
  document.title = 'Jobs · hivq';
  const words = el('input', {
    type: 'search',
    dataset: {filter: ''},
    placeholder: 'name, user, project',
    size: 22,
    value: query.get('text') ?? '',
    oninput: debounce(() => refine(), 150),
  });
  const states = select(
    [['', 'all'], 'waiting', 'paused', 'running', 'finished', 'failed', 'cancelled'],
    query.get('state') ?? '',
    () => refine(),
  );
  const count = el('span', {class: 'dim', role: 'status'});
  const body = el('div', {}, el('p', {class: 'dim', role: 'status'}, 'Loading jobs …'));
  root.append(
    el(
      'div',
      {class: 'row'},
      el('h1', {}, 'Jobs'),
      el('span', {class: 'grow'}),
      labelled('Filter', words),
      labelled('State', states),
    ),
    count,
    body,
  );

  const columns = [
    {
      id: 'job',
      title: 'job',
      right: true,
      down: true,
      text: (job) => String(job.job),
      value: (job) => job.job,
      cell: (job) => el('a', {href: `#/jobs/${job.job}`}, String(job.job)),
    },
    {
      id: 'state',
      title: 'state',
      width: 10,
      text: (job) => job.state,
      cell: (job) => el('span', {title: job.reason || null}, badge(job.state)),
    },
    {
      id: 'name',
      title: 'name',
      most: 28,
      text: (job) => job.name,
      cell: (job) => el('a', {href: `#/jobs/${job.job}`, title: job.name}, job.name || '(no name)'),
    },
    {
      id: 'trials',
      title: 'trials',
      width: 22,
      text: (job) => `${ended(job)}/${job.trials}`,
      value: (job) => ended(job) / Math.max(1, job.trials),
      cell: (job) => progress(ended(job), job.trials, `Trials of job ${job.job} that have ended`),
    },
    {id: 'running', title: 'run', right: true, text: (job) => String(job.running), value: (job) => job.running},
    {
      id: 'metric',
      title: 'metric',
      text: (job) => (job.metric ? `${job.metric} ${job.goal === 'minimize' ? '↓' : '↑'}` : ''),
    },
    {id: 'user', title: 'user', text: (job) => job.user},
    {id: 'project', title: 'project', text: (job) => job.project},
    {id: 'priority', title: 'prio', right: true, text: (job) => String(job.priority), value: (job) => job.priority},
    {
      id: 'submitted',
      title: 'submitted',
      down: true,
      width: 13,
      text: (job) => clock(job.submitted),
      value: (job) => job.submitted,
      cell: (job) => when(job.submitted),
    },
    {id: 'duration', title: 'duration', right: true, width: 10, text: (job) => duration(took(job)), value: took},
    {
      id: 'actions',
      title: 'actions',
      plain: true,
      width: 14,
      text: (job) => job.state,
      cell: (job) =>
        el(
          'span',
          {class: 'row tight'},
          jobButtons(job, () => look()),
        ),
    },
  ];
  const list = table({label: 'Jobs', key: (job) => job.job, height: '78vh', signal});
  let all = null;

  function refine() {
    const text = words.value.trim().toLowerCase();
    const asked = new URLSearchParams({...(text && {text}), ...(states.value && {state: states.value})});
    history.replaceState(null, '', `#/jobs${asked.size > 0 ? `?${asked}` : ''}`);
    draw();
  }

  function draw() {
    if (!all) return;
    const text = words.value.trim().toLowerCase();
    const fits = (job) =>
      (!states.value || job.state === states.value) &&
      (!text || [job.name, job.user, job.project, String(job.job)].some((each) => each.toLowerCase().includes(text)));
    const rows = all.jobs.filter(fits);
    count.textContent =
      all.total > all.jobs.length
        ? `${rows.length} of the newest ${all.jobs.length} jobs; ${all.total} in all`
        : `${rows.length} of ${all.total} jobs`;
    count.hidden = all.total === 0;
    list.update(rows, columns);
    if (all.total === 0) {
      fill(
        body,
        empty(
          'No jobs yet: ',
          el('code', {}, 'hivq submit jobs/specs/quick.yaml'),
          ' or ',
          el('a', {href: '#/submit'}, 'Submit'),
          '.',
        ),
      );
    } else if (rows.length === 0) {
      fill(
        body,
        empty(
          'No job is like that. ',
          el(
            'button',
            {
              onclick: () => {
                words.value = states.value = '';
                refine();
              },
            },
            'Show all',
          ),
        ),
      );
    } else if (!list.element.isConnected) {
      fill(body, list.element);
      list.update(rows, columns); // now that its height is known
    }
  }

  const look = poll(
    async () => {
      try {
        all = await get('/jobs', {limit: most}, signal);
        draw();
      } catch (error) {
        if (!all && !signal.aborted) fill(body, failure(error));
        throw error;
      }
    },
    2000,
    signal,
  );
}
