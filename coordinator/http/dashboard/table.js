// A table that is sorted by its headings and has elements only for the rows in sight: ten thousand rows scroll freely.

import {el, fill} from '/assets/dom.js';

const rowHeight = 34; // px, as in style.css

/// Numbers by size, words in their order, and what is missing last, whichever way.
function inOrder(a, b, down) {
  const none = (value) => value === null || value === undefined || value === '' || Number.isNaN(value);
  if (none(a) || none(b)) return none(a) - none(b);
  const order =
    typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b), 'en', {numeric: true});
  return down ? -order : order;
}

/// A table of rows. `columns`: {id, title, text(row), value(row)?, cell(row)?, right?, most?}: what is shown, what it
/// is sorted by (the text unless said), the nodes unless text, whether to align right, and its greatest width in
/// characters. `key(row)` names a row. The caller gives rows and columns with `update`; `first` {id, down} is how they
/// are sorted at first, without it as they come.
export function table({label, key, first = null, height = '70vh', signal, rowClass}) {
  let columns = [],
    rows = [],
    sorted = [],
    order = first,
    shown = new Map();
  const cols = el('colgroup');
  const head = el('tr', {'aria-rowindex': '1'});
  const body = el('tbody');
  const grid = el('table', {class: 'grid'}, cols, el('thead', {}, head), body);
  const element = el(
    'div',
    {class: 'scroll', tabindex: '0', role: 'region', 'aria-label': label, style: {maxHeight: height}},
    grid,
  );
  const above = el('tr', {'aria-hidden': 'true', class: 'space'}, el('td'));
  const below = el('tr', {'aria-hidden': 'true', class: 'space'}, el('td'));
  body.append(above, below);

  function sort() {
    const column = columns.find((each) => each.id === order?.id);
    if (!column) {
      sorted = rows;
      return;
    }
    const value = column.value ?? column.text;
    sorted = rows
      .map((row) => [value(row), row])
      .sort((a, b) => inOrder(a[0], b[0], order.down))
      .map(([, row]) => row);
  }

  function heading(column) {
    const here = order?.id === column.id;
    const arrow = here ? (order.down ? ' ↓' : ' ↑') : '';
    const sortBy = () => {
      order = {id: column.id, down: here ? !order.down : Boolean(column.down)};
      drawHead();
      sort();
      drawRows();
      head.querySelector(`[data-id="${CSS.escape(column.id)}"]`)?.focus();
    };
    return el(
      'th',
      {
        scope: 'col',
        class: column.right ? 'right' : null,
        'aria-sort': here ? (order.down ? 'descending' : 'ascending') : null,
      },
      column.plain
        ? el('span', {class: 'hidden'}, column.title)
        : el(
            'button',
            {
              type: 'button',
              class: 'plain',
              title: `Sort by ${column.title}`,
              dataset: {id: column.id},
              onclick: sortBy,
            },
            column.title,
            arrow,
          ),
    );
  }

  function drawHead() {
    fill(head, columns.map(heading));
  }

  /// Widths for what the rows hold, from a sample of them, so that scrolling does not change them.
  function measure() {
    const every = Math.max(1, Math.floor(rows.length / 200));
    let whole = 0;
    fill(
      cols,
      columns.map((column) => {
        let most = column.plain ? 2 : Math.min(20, column.title.length) + 1;
        for (let i = 0; i < rows.length; i += every) most = Math.max(most, String(column.text(rows[i])).length);
        const width = column.width ?? Math.min(most, column.most ?? 36);
        whole += width;
        return el('col', {style: {width: `calc(${width}ch + 1.1rem)`}});
      }),
    );
    grid.style.width = `max(100%, calc(${whole}ch + ${1.1 * columns.length}rem))`;
  }

  function rowOf(row, index) {
    const texts = columns.map((column) => String(column.text(row)));
    const named = String(key(row));
    const state = `${index}\u0000${rowClass?.(row) ?? ''}\u0000${texts.join('\u0000')}`;
    const old = shown.get(named);
    if (old?.state === state && old.columns === columns) return old;
    const cells = columns.map((column, i) =>
      el(
        'td',
        {class: column.right ? 'right' : null, title: column.cell ? null : texts[i]},
        column.cell ? column.cell(row) : texts[i],
      ),
    );
    return {
      state,
      columns,
      named,
      element: el('tr', {'aria-rowindex': String(index + 2), class: rowClass?.(row)}, cells),
    };
  }

  function drawRows() {
    const top = Math.max(0, element.scrollTop - rowHeight);
    const seen = Math.ceil((element.clientHeight || 600) / rowHeight) + 12;
    const begin = Math.min(Math.max(0, Math.floor(top / rowHeight) - 6), Math.max(0, sorted.length - seen));
    const end = Math.min(sorted.length, begin + seen);
    const next = new Map();
    for (let i = begin; i < end; ++i) {
      const made = rowOf(sorted[i], i);
      next.set(String(key(sorted[i])), made);
    }
    for (const [named, old] of shown) {
      if (next.get(named)?.element !== old.element) old.element.remove();
    }
    let at = above.nextSibling; // rows that stay are not moved: what has the focus keeps it
    for (const made of next.values()) {
      if (at === made.element) at = at.nextSibling;
      else body.insertBefore(made.element, at);
    }
    shown = next;
    above.style.height = `${begin * rowHeight}px`;
    below.style.height = `${(sorted.length - end) * rowHeight}px`;
    above.hidden = begin === 0;
    below.hidden = end === sorted.length;
  }

  let asked = 0;
  element.addEventListener(
    'scroll',
    () => {
      cancelAnimationFrame(asked);
      asked = requestAnimationFrame(drawRows);
    },
    {passive: true},
  );
  const size = new ResizeObserver(drawRows);
  size.observe(element);
  signal.addEventListener('abort', () => size.disconnect());

  return {
    element,
    /// `nextColumns` is compared by identity: give the same array where nothing changed.
    update(nextRows, nextColumns = columns) {
      rows = nextRows;
      if (nextColumns !== columns) {
        columns = nextColumns;
        drawHead();
      }
      grid.setAttribute('aria-rowcount', String(rows.length + 1));
      grid.setAttribute('aria-label', label);
      measure();
      sort();
      drawRows();
    },
    /// The rows as they are sorted now.
    rows: () => sorted,
  };
}
