// Signing in where the coordinator asks for it: a token becomes a session, which the browser keeps from the page.

import {el, labelled} from '/assets/dom.js';

const session = '/api/v1/session';
let asking = null;

/// Asks for a token until one is good. All who wait for it share one dialog.
export function signIn() {
  asking ??= ask().finally(() => {
    asking = null;
  });
  return asking;
}

function ask() {
  return new Promise((resolve) => {
    const token = el('input', {type: 'password', autocomplete: 'current-password', required: true, size: 40});
    const wrong = el('p', {class: 'failure', role: 'alert', hidden: true});
    const form = el(
      'form',
      {},
      el('h2', {id: 'signin-title'}, 'Sign in'),
      el('p', {}, 'This coordinator asks who you are. ', el('code', {}, 'hivq keys token'), ' prints your token.'),
      labelled('Token', token),
      wrong,
      el('div', {class: 'row end'}, el('button', {class: 'primary'}, 'Sign in')),
    );
    const dialog = el(
      'dialog',
      {'aria-labelledby': 'signin-title', oncancel: (event) => event.preventDefault()},
      form,
    );
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      try {
        const headers = {Authorization: `Bearer ${token.value.trim()}`};
        const answer = await fetch(session, {method: 'POST', headers});
        const told = await answer.json();
        if (answer.ok) {
          dialog.close();
          dialog.remove();
          showWho(told);
          return resolve();
        }
        wrong.textContent = told.detail ?? answer.statusText;
      } catch {
        wrong.textContent = 'The coordinator does not answer.';
      }
      wrong.hidden = false;
      token.select();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/// Who is signed in, and the way out; nothing where the coordinator asks nobody.
export function showWho({name, role}) {
  const place = document.getElementById('who');
  place.hidden = !name;
  if (!name) return;
  const leave = async () => {
    await fetch(`${session}/end`, {method: 'POST'});
    location.reload();
  };
  place.replaceChildren(`${name} (${role}) `, el('button', {class: 'plain', type: 'button', onclick: leave}, 'Sign out'));
}
