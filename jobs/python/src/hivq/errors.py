"""What can go wrong, each with a sentence that says what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence


@dataclass(frozen=True)
class Mistake:
    """What is wrong at a line of a specification. `line` counts from 1; 0 means the whole."""

    line: int
    message: str

    def text(self, file: Optional[str]) -> str:
        """`jobs/quick.yaml:12: train.batch_size is 0; it must be at least 1`"""
        if file is None:
            return self.message
        return f"{file}:{self.line}: {self.message}" if self.line > 0 else f"{file}: {self.message}"


class Error(Exception):
    """Base of all errors of this package."""


class Unreachable(Error, ConnectionError):
    """No coordinator answers at the address."""


class TimedOut(Error, TimeoutError):
    """`Job.wait(timeout=…)` ended before the job did."""


class ApiError(Error):
    """The coordinator refused a request.

    status: the HTTP status. title, detail: the problem's name and the sentence about it. mistakes: of a specification.
    """

    def __init__(self, status: int, title: str, detail: str, mistakes: Sequence[Mistake] = ()) -> None:
        super().__init__(status, title, detail, tuple(mistakes))
        self.status = status
        self.title = title
        self.detail = detail
        self.mistakes = tuple(mistakes)

    def __str__(self) -> str:
        return self.detail or f"{self.status} {self.title}"


class SpecError(ApiError):
    """A specification with mistakes; its text is a line for each, `file:line: what is wrong and what to do`."""

    def __init__(
        self, status: int, title: str, detail: str, mistakes: Sequence[Mistake] = (), file: Optional[str] = None
    ) -> None:
        super().__init__(status, title, detail, mistakes)
        self.args = (*self.args, file)  # what pickle calls __init__ with
        self.file = file

    def __str__(self) -> str:
        if not self.mistakes:
            return super().__str__()
        return "\n".join(mistake.text(self.file) for mistake in self.mistakes)
