// What trains where: hosts and their gangs, what waits and why, and when what ran.

import {get, poll, post, query} from '/assets/api.js';
import {axis, chart, tooltip, zoom} from '/assets/charts.js';
import {act, ask, badge, clock, counted, duration, el, empty, failure, fill, headed, labelled, section, select} from '/assets/dom.js';

const mostExplained = 30,
  mostRuns = 3000;

export async function cluster(root, {signal}) {
  document.title = 'Cluster · hivq';
  const hosts = el('div', {}, el('p', {class: 'dim', role: 'status'}, 'Loading gangs …'));
  const count = el('span', {class: 'dim'});
  const queue = el('div', {}, el('p', {class: 'dim'}, 'Loading …'));
  root.append(
    el('div', {class: 'row'}, el('h1', {}, 'Cluster'), count),
    hosts,
    section('Queue', queue),
    timeline(signal),
  );

  let drawn = '';
  const look = poll(
    async () => {
      try {
        const {gangs} = await get('/gangs', {}, signal);
        if (JSON.stringify(gangs) === drawn) return;
        drawn = JSON.stringify(gangs);
        drawHosts(gangs);
      } catch (error) {
        if (!drawn && !signal.aborted) fill(hosts, failure(error));
        throw error;
      }
    },
    2000,
    signal,
  );

  async function drain(target, drained) {
    let toTheEnd = false;
    if (drained) {
      const end = el('input', {type: 'checkbox', name: 'end'});
      const asked = await ask({
        title: `Drain ${target}?`,
        yes: 'Drain',
        danger: true,
        text: 'It gets no new trials until it is undrained. Trials that run there are given back and go on elsewhere.',
        fields: [labelled('let them run to their end', end, {class: 'control check'})],
      });
      if (!asked) return;
      toTheEnd = asked.end === 'on';
    }
    const done = await act(
      () => post('/drain', {json: {target, drained, to_the_end: toTheEnd}}),
      (answer) =>
        drained
          ? `${target} is drained: ${answer.gangs} gangs, ${answer.running} trials run there still.`
          : `${target} may have trials again.`,
    );
    if (done) look();
  }
  const drainButton = (target, drained) =>
    el(
      'button',
      {
        type: 'button',
        class: 'small',
        onclick: () => drain(target, !drained),
        'aria-label': `${drained ? 'Undrain' : 'Drain'} ${target}`,
      },
      drained ? 'Undrain' : 'Drain',
    );

  function gangRow(gang) {
    const state = !gang.connected ? 'away' : gang.drained ? 'drained' : gang.trials.length > 0 ? 'running' : 'idle';
    return el(
      'tr',
      {},
      el('th', {scope: 'row'}, el('code', {}, gang.gang)),
      el('td', {}, badge(state)),
      el('td', {}, gang.devices),
      el('td', {class: 'right'}, String(gang.ranks)),
      el(
        'td',
        {},
        el(
          'span',
          {class: 'chips'},
          Object.entries(gang.labels).map(([key, value]) => el('span', {class: 'chip'}, `${key}=${value}`)),
        ),
      ),
      el('td', {}, gang.phase),
      el(
        'td',
        {},
        gang.trials.map((trial) => [el('a', {href: `#/trials/${trial}`}, trial), ' ']),
      ),
      el('td', {}, gang.launched_by_coordinator ? 'coordinator' : 'by hand'),
      el('td', {}, drainButton(gang.gang, gang.drained)),
    );
  }

  function drawHosts(gangs) {
    const names = [...new Set(gangs.map((gang) => gang.host))].sort((a, b) =>
      a.localeCompare(b, 'en', {numeric: true}),
    );
    const idle = gangs.filter((gang) => gang.connected && gang.trials.length === 0).length;
    count.textContent = gangs.length === 0 ? '' : `${counted(names.length, 'host')}, ${counted(gangs.length, 'gang')}, ${idle} idle`;
    if (gangs.length === 0) {
      fill(
        hosts,
        empty(
          'No gang is connected. Start one: ',
          el('code', {}, `mpirun -np 2 hivq-worker --coordinator tcp://${location.hostname}:4487`),
        ),
      );
      return;
    }
    fill(
      hosts,
      names.map((host) => {
        const here = gangs.filter((gang) => gang.host === host);
        const drained = here.every((gang) => gang.drained);
        const heads = ['gang', 'state', 'devices', ['ranks'], 'labels', 'phase', 'trials', 'started', 'actions'];
        return el(
          'section',
          {class: 'card'},
          el(
            'div',
            {class: 'row'},
            el('h2', {}, host),
            el('span', {class: 'dim'}, counted(here.reduce((sum, gang) => sum + gang.ranks, 0), 'rank')),
            el('span', {class: 'grow'}),
            drainButton(`host:${host}`, drained),
          ),
          headed(`Gangs of ${host}`, heads, here.map(gangRow)),
        );
      }),
    );
  }

  poll(
    async () => {
      const pages = await Promise.all(
        ['waiting', 'running', 'paused'].map((state) => get('/jobs', {state, limit: 200}, signal)),
      );
      const jobs = pages
        .flatMap((page) => page.jobs)
        .map((job) => ({...job, waits: job.trials - job.finished - job.failed - job.cancelled - job.running}))
        .filter((job) => job.waits > 0)
        .sort((a, b) => b.priority - a.priority || a.job - b.job);
      const reasons = await Promise.all(
        jobs.slice(0, mostExplained).map((job) =>
          get(`/jobs/${job.job}/explain`, {}, signal).then(
            (answer) => answer.explanation,
            () => '',
          ),
        ),
      );
      if (jobs.length === 0) {
        fill(queue, empty('Nothing waits. ', el('a', {href: '#/submit'}, 'Submit'), ' a job.'));
        return;
      }
      fill(
        queue,
        headed(
          'Queue',
          ['job', 'state', ['priority'], ['waiting trials'], 'why'],
          jobs.map((job, i) =>
            el(
              'tr',
              {},
              el('th', {scope: 'row'}, el('a', {href: `#/jobs/${job.job}`}, `${job.job} ${job.name}`)),
              el('td', {}, badge(job.state)),
              el('td', {class: 'right'}, String(job.priority)),
              el('td', {class: 'right'}, String(job.waits)),
              el('td', {}, reasons[i] ?? ''),
            ),
          ),
          {wrap: true},
        ),
      );
    },
    4000,
    signal,
  );
}

/// What ran when, a row a gang; trials that it ran side by side are drawn in lanes of it. A trial's gang is the last
/// that had it, and its start that of its last attempt's.
function timeline(signal) {
  const windows = select(
    [
      ['1', 'last hour'],
      ['6', '6 hours'],
      ['24', 'day'],
      ['168', 'week'],
      ['0', 'all'],
    ],
    '24',
    () => look(),
  );
  const figure = chart('Timeline: which trial ran where and when', signal, {
    height: 300,
    click: (event) => {
      if (event.data) location.hash = `#/trials/${event.data[4].id}`;
    },
  });
  const note = el('div');

  const look = poll(
    async () => {
      const since = windows.value === '0' ? 0 : Math.floor(Date.now() / 1000 - Number(windows.value) * 3600);
      const {rows} = await query(
        `SELECT t.id AS id, t.job AS job, t.state AS state, t.variant AS variant, t.started AS started,
      t.ended AS ended, l.gang AS gang, g.host AS host FROM trials t
      LEFT JOIN leases l ON l.job = t.job AND l.trial = t.trial LEFT JOIN gangs g ON g.gang = l.gang
      WHERE t.started IS NOT NULL AND coalesce(t.ended, t.started + 1e9) >= ${since}
      ORDER BY t.started DESC LIMIT ${mostRuns}`,
        signal,
      );
      fill(
        note,
        rows.length === 0 && empty('No trial ran in this time.'),
        rows.length === mostRuns && el('p', {class: 'dim'}, `The newest ${mostRuns} trials.`),
      );
      figure.element.hidden = rows.length === 0;
      if (rows.length > 0) draw(rows);
    },
    10000,
    signal,
  );

  function draw(rows) {
    const now = Date.now() / 1000;
    const byGang = new Map();
    for (const row of rows.toReversed()) {
      const gang = row.gang ? `${row.gang.slice(0, 8)}${row.host ? ` ${row.host}` : ''}` : 'unknown';
      byGang.set(gang, [...(byGang.get(gang) ?? []), row]);
    }
    const lanes = [],
      bars = [];
    for (const [gang, runs] of [...byGang].sort(([a], [b]) => a.localeCompare(b))) {
      const ends = []; // of each lane of this gang
      const begin = lanes.length;
      for (const run of runs) {
        const end = run.ended ?? (run.state === 'running' ? now : run.started);
        let lane = ends.findIndex((each) => each <= run.started + 1e-3);
        if (lane < 0) lane = ends.length;
        ends[lane] = end;
        bars.push([begin + lane, run.started * 1000, end * 1000, run.job, run]);
      }
      ends.forEach((_, lane) => lanes.push(lane === 0 ? gang : ''));
    }
    figure.element.style.height = `${Math.min(640, 100 + lanes.length * 22)}px`;
    const jobs = [...new Set(rows.map((row) => row.job))].sort((a, b) => a - b);
    figure.draw((shared) => option(shared, lanes, bars, jobs));
  }

  function option(shared, lanes, bars, jobs) {
    const colour = new Map(jobs.map((job, i) => [job, shared.palette[i % shared.palette.length]]));
    return {
      tooltip: tooltip(shared, 'item', ({data: [, begin, end, job, run]}) => [
        `trial ${run.id}${run.variant ? ` · ${run.variant}` : ''}`,
        `job ${job}, ${run.state}`,
        `${clock(begin)} – ${run.ended ? clock(end) : 'now'}, ${duration(end - begin)}`,
        `gang ${run.gang ?? 'unknown'}`,
      ]),
      grid: {left: 8, right: 16, top: 8, bottom: 34, containLabel: true},
      xAxis: axis(shared, {type: 'time'}),
      yAxis: axis(shared, {type: 'category', data: lanes, inverse: true, axisLabel: {interval: 0, fontSize: 11}}),
      dataZoom: [
        ...zoom(shared),
        ...(lanes.length > 24
          ? [
              {
                type: 'inside',
                yAxisIndex: 0,
                startValue: 0,
                endValue: 24,
                zoomOnMouseWheel: false,
                moveOnMouseWheel: false,
              },
            ]
          : []),
      ],
      series: [
        {
          type: 'custom',
          data: bars,
          encode: {x: [1, 2], y: 0},
          clip: true,
          renderItem: (params, api) => {
            const [left, middle] = api.coord([api.value(1), api.value(0)]);
            const [right] = api.coord([api.value(2), api.value(0)]);
            const height = Math.min(16, api.size([0, 1])[1] * 0.75);
            return {
              type: 'rect',
              shape: {x: left, y: middle - height / 2, width: Math.max(2, right - left - 1), height, r: 2},
              style: {fill: colour.get(api.value(3)), stroke: shared.panel, lineWidth: 0.5},
            };
          },
        },
      ],
    };
  }

  return section(
    'Timeline',
    el(
      'div',
      {class: 'row'},
      labelled('Show', windows),
      el('span', {class: 'dim'}, 'A row for each gang, a colour for each job; Shift and wheel zoom.'),
    ),
    note,
    figure.element,
  );
}
