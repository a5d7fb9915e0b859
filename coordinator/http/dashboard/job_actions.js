// Stopping, pausing and resuming a job and its priority, asked for before it is done.

import {post} from '/assets/api.js';
import {act, ask, el} from '/assets/dom.js';

const live = (job) => ['waiting', 'running', 'paused'].includes(job.state);

const kinds = {
  pause: {
    word: 'Pause',
    text:
      'Its trials stop at the next step, each with a checkpoint, and free their gangs; those of a study go on to their end, ' +
      'and no new ones begin.',
    yes: 'Pause it',
    done: (job) => `Job ${job.job} is paused.`,
  },
  resume: {word: 'Resume', done: (job) => `Job ${job.job} goes on.`},
  cancel: {
    word: 'Stop',
    text: 'Trials that have not ended are given up. That cannot be undone.',
    yes: 'Stop it',
    danger: true,
    done: (job, answer) => `Job ${job.job} is stopped; ${answer.cancelled_trials} trials were given up.`,
  },
};

/// Asks for another priority; `done` is called after it was set.
export function priorityButton(job, done) {
  const field = () =>
    el(
      'label',
      {},
      'Priority ',
      el('input', {type: 'number', name: 'priority', value: String(job.priority), min: -1_000_000, max: 1_000_000, step: 1, required: true}),
    );
  const go = async () => {
    const answer = await ask({
      title: `Priority of job ${job.job} “${job.name}”`,
      text: 'The higher goes first, and may take gangs away from lower ones.',
      yes: 'Set it',
      fields: [field()],
    });
    if (!answer) return;
    const worked = await act(
      () => post(`/jobs/${job.job}/priority`, {json: {priority: Number(answer.priority)}}),
      ({priority}) => `Job ${job.job} has the priority ${priority}.`,
    );
    if (worked) done();
  };
  return el('button', {type: 'button', class: 'small', onclick: go, 'aria-label': `Priority of job ${job.job}`}, 'Priority');
}

/// The buttons that make sense for a job; `done` is called after one has worked.
export function jobButtons(job, done) {
  if (!live(job)) return [];
  return [job.state === 'paused' ? 'resume' : 'pause', 'cancel'].map((kind) => {
    const {word, text, yes, danger, done: told} = kinds[kind];
    const go = async () => {
      if (text && !(await ask({title: `${word} job ${job.job} “${job.name}”?`, text, yes, danger}))) return;
      if (
        await act(
          () => post(`/jobs/${job.job}/${kind}`),
          (answer) => told(job, answer),
        )
      )
        done();
    };
    return el(
      'button',
      {
        type: 'button',
        class: danger ? 'small danger-text' : 'small',
        onclick: go,
        'aria-label': `${word} job ${job.job}`,
      },
      word,
    );
  });
}
