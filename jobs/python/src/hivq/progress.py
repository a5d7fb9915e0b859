"""How a job that is waited for shows where it stands: a line on a terminal, a cell in a notebook, nothing in a pipe."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Any, Optional, Protocol

from hivq.html import duration


class Shown(Protocol):
    """What can be shown: a Job."""

    def summary(self) -> str: ...

    def _repr_html_(self) -> str: ...


class Progress:
    """Shows nothing."""

    def show(self, job: Shown) -> None: ...

    def close(self) -> None: ...


class TerminalLine(Progress):
    """A line of stderr that is written over."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._width = 0

    def show(self, job: Shown) -> None:
        text = printable(f"{job.summary()}  {duration(time.monotonic() - self._began)}")
        text = text[: shutil.get_terminal_size().columns - 1]  # a line that wraps could not be written over
        sys.stderr.write("\r" + text.ljust(self._width))
        sys.stderr.flush()
        self._width = len(text)

    def close(self) -> None:
        if self._width:
            sys.stderr.write("\n")
            sys.stderr.flush()


class NotebookCell(Progress):
    """An output of a notebook's cell that is drawn anew."""

    def __init__(self, display: Any) -> None:
        self._display = display
        self._handle: Optional[Any] = None

    def show(self, job: Shown) -> None:
        if self._handle is None:
            self._handle = self._display(job, display_id=True)
        else:
            self._handle.update(job)


def progress_display(wanted: bool) -> Progress:
    if not wanted:
        return Progress()
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None and hasattr(shell, "kernel"):
        from IPython.display import display

        return NotebookCell(display)
    return TerminalLine() if sys.stderr is not None and sys.stderr.isatty() else Progress()


def printable(text: str) -> str:
    """Without control characters, which would move a terminal's cursor."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)
