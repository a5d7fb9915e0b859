"""What the coordinator answers, as plain values."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from hivq.errors import Mistake
from hivq.frames import frame, load_pandas
from hivq.html import table

if TYPE_CHECKING:
    import pandas

Value = Union[bool, int, float, str]
WHOLE = re.compile("[+-]?[0-9]{1,18}")
REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def time_of(milliseconds: Optional[int]) -> Optional[datetime]:
    """UTC; None where it has not happened yet."""
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, timezone.utc)


def number_of(value: Optional[float]) -> float:
    """NaN for the API's null, which stands for what is not finite."""
    return math.nan if value is None else float(value)


def value_of(text: str) -> Value:
    """A parameter's value from its text: a flag, a whole number, a number, else the text itself."""
    if text in ("true", "false"):
        return text == "true"
    if WHOLE.fullmatch(text):
        return int(text)
    return float(text) if REAL.fullmatch(text) else text


def numbers_of(values: Mapping[str, Optional[float]]) -> Dict[str, float]:
    return {name: number_of(value) for name, value in values.items()}


@dataclass(frozen=True)
class Curve:
    """A metric's points: `values[i]` was reported at `steps[i]`. NaN: not finite."""

    steps: List[int]
    values: List[float]

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Curve:
        return cls(list(answer["steps"]), [number_of(value) for value in answer["values"]])


@dataclass(frozen=True)
class LogLine:
    time: Optional[datetime]
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class TrialSpec:
    """A trial's specification with every default, and where it differs from the defaults: {key: (value, default)}."""

    yaml: str
    differences: Dict[str, Tuple[str, str]]


@dataclass(frozen=True)
class Estimate:
    """What a job would take. rank_hours: hours of a GPU each, or of a CPU rank; None where no trial like these is stored.
    similar_trials: stored trials that this is measured on."""

    trials: int
    rank_hours: Optional[float]
    similar_trials: int
    checkpoint_bytes: Optional[int]
    note: str


@dataclass(frozen=True)
class Validation:
    """A specification's mistakes, or what it would take. True where it is valid; prints as its mistakes."""

    valid: bool
    mistakes: Tuple[Mistake, ...]
    yaml: str  # with every default
    estimate: Optional[Estimate]
    file: Optional[str] = None

    def __bool__(self) -> bool:
        return self.valid

    def __str__(self) -> str:
        if self.mistakes:
            return "\n".join(mistake.text(self.file) for mistake in self.mistakes)
        return "valid" if self.estimate is None else f"valid: {self.estimate.note or f'{self.estimate.trials} trials'}"


@dataclass(frozen=True)
class Gang:
    """Workers that train together. gang: its name. ranks: processes. trials: those that it trains now, such as 3/0."""

    gang: str
    host: str
    devices: str
    ranks: int
    phase: str
    connected: bool
    drained: bool
    labels: Dict[str, str]
    trials: List[str]
    launched_by_coordinator: bool


@dataclass(frozen=True)
class Table:
    """Rows that an SQL question found. complete: False where there are more than the 100,000 that an answer holds."""

    columns: List[str]
    rows: List[List[Any]] = field(repr=False)
    complete: bool

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Dict[str, Any]]:
        """Rows by column name."""
        return (dict(zip(self.columns, row)) for row in self.rows)

    def to_pandas(self) -> pandas.DataFrame:
        """Columns as the question names them. Errors: pandas is not installed."""
        data: pandas.DataFrame = load_pandas().DataFrame(self.rows, columns=self.columns)
        return data

    def _repr_html_(self) -> str:
        note = "" if self.complete else "there are more rows"
        return table(self.columns, self.rows, f"{len(self.rows)} rows", note)


@dataclass(frozen=True)
class Comparison:
    """Trials side by side; each list has one entry for each of `trials`. settings: only those in which they differ."""

    trials: List[str]
    facts: Dict[str, List[str]]
    settings: Dict[str, List[str]]
    metrics: Dict[str, List[float]]

    def to_pandas(self) -> pandas.DataFrame:
        """A row for each trial, a column for each setting and metric. Errors: pandas is not installed."""
        columns: Dict[str, Sequence[Any]] = {"trial": self.trials}
        columns.update({name: [value_of(text) for text in values] for name, values in self.settings.items()})
        for name, numbers in self.metrics.items():
            columns[name if name not in columns else f"metrics.{name}"] = numbers
        return frame(columns).set_index("trial")

    def _repr_html_(self) -> str:
        lines: List[List[Any]] = [[name, *values] for part in (self.facts, self.settings, self.metrics) for name, values in part.items()]
        return table(["", *self.trials], lines)


def mistakes_of(answer: Sequence[Mapping[str, Any]]) -> Tuple[Mistake, ...]:
    return tuple(Mistake(int(each["line"]), str(each["message"])) for each in answer)


def known(kind: Any, answer: Mapping[str, Any]) -> Dict[str, Any]:
    """The fields that this version knows: a newer coordinator may say more."""
    return {name: answer[name] for name in kind.__dataclass_fields__ if name in answer}
