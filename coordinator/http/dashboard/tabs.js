// Tabs: one panel in sight, changed by mouse or arrow keys.

import {el} from '/assets/dom.js';

/// `names`: [id, title] pairs; `panels`: elements by id. `changed(id)` is called when another is chosen.
export function tabs(names, first, changed, panels) {
  let now = names.some(([id]) => id === first) ? first : names[0][0];
  const buttons = names.map(([id, title]) =>
    el(
      'button',
      {type: 'button', role: 'tab', id: `tab-${id}`, 'aria-controls': `panel-${id}`, onclick: () => choose(id)},
      title,
    ),
  );
  const list = el(
    'div',
    {
      role: 'tablist',
      'aria-label': 'Views',
      class: 'tabs',
      onkeydown: (event) => {
        const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
        if (!step) return;
        const at = (names.findIndex(([id]) => id === now) + step + names.length) % names.length;
        choose(names[at][0]);
        buttons[at].focus();
      },
    },
    buttons,
  );
  for (const [id, panel] of Object.entries(panels)) {
    Object.assign(panel, {id: `panel-${id}`, tabIndex: -1});
    panel.setAttribute('role', 'tabpanel');
    panel.setAttribute('aria-labelledby', `tab-${id}`);
  }
  function choose(id, quiet = false) {
    now = id;
    names.forEach(([each], i) => {
      buttons[i].setAttribute('aria-selected', String(each === id));
      buttons[i].tabIndex = each === id ? 0 : -1;
      panels[each].hidden = each !== id;
    });
    if (!quiet) changed(id);
  }
  choose(now, true);
  return {element: el('div', {}, list, Object.values(panels)), value: () => now};
}
