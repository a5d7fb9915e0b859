"""How values look in a notebook. Whatever comes from a job is text here, never markup."""

from __future__ import annotations

import math
from datetime import datetime
from html import escape
from typing import Any, Iterable, List, Optional, Sequence

MOST_ROWS = 60


def shown(value: Any) -> str:
    """A value as a person reads it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return str(value)


def duration(seconds: Optional[float]) -> str:
    """1 h 5 min, 2 min 4 s, 7 s"""
    if seconds is None:
        return "–"
    whole = int(round(seconds))
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def size(count: int) -> str:
    """Bytes in the unit that suits, of 1000 each."""
    amount, units = float(count), ["bytes", "kB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount /= 1000
        units.pop(0)
    return f"{amount:.3g} {units[0]}" if units[0] != "bytes" else f"{count} bytes"


def table(columns: Sequence[str], rows: Sequence[Iterable[Any]], title: str = "", note: str = "") -> str:
    """An HTML table, its first rows where there are many."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    lines: List[str] = []
    for row in rows[:MOST_ROWS]:
        lines.append("<tr>" + "".join(f"<td>{escape(shown(value))}</td>" for value in row) + "</tr>")
    if len(rows) > MOST_ROWS:
        note = f"{len(rows) - MOST_ROWS} more rows" + (f"; {note}" if note else "")
    caption = f"<p><b>{escape(title)}</b></p>" if title else ""
    foot = f"<p>{escape(note)}</p>" if note else ""
    return f"{caption}<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>{foot}"


def bar(share: float) -> str:
    """A bar that is full at 1."""
    return f'<progress max="1" value="{min(max(share, 0.0), 1.0):.4f}" style="width:20em"></progress>'
