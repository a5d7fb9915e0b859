"""A job: where it stands, its trials and their results."""

from __future__ import annotations

import csv
import io
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from hivq.answers import number_of, time_of
from hivq.curve_files import write_curves_csv, write_curves_parquet
from hivq.curves import Curves, streamed_curves
from hivq.errors import Error, TimedOut
from hivq.events import JobEvents
from hivq.frames import StrPath, frame, load_pandas, load_pyarrow, written
from hivq.html import bar, shown, table
from hivq.mlflow_store import write_mlflow
from hivq.paging import entries, pages, pages_by_number
from hivq.progress import progress_display
from hivq.tensorboard import write_tensorboard
from hivq.transport import Transport
from hivq.trial import ENDED, Trial, parts_of

if TYPE_CHECKING:
    import pandas

MOST_CURVES = 500  # that a question for curves may name
Where = Union[str, Sequence[str]]  # one condition, or several that must all hold
Told = Callable[[int, int], None]  # trials that are done, and all


class Job:
    """A job as last seen; refresh() and wait() look again.

    id: its number. name, user, project, priority, metric, goal (maximize or minimize): of its specification. state: waiting,
    pausing, paused, running, finished, failed or cancelled, and `reason` why. submitted, ended: UTC, or None.
    trial_count, finished_trials, failed_trials, running_trials, cancelled_trials: how many.
    waiting: why nothing runs, where that is so; known after refresh().
    """

    id: int
    name: str
    state: str
    reason: str
    submitted: Optional[datetime]
    ended: Optional[datetime]
    trial_count: int
    finished_trials: int
    failed_trials: int
    running_trials: int
    cancelled_trials: int
    metric: str
    goal: str
    user: str
    project: str
    priority: int
    waiting: str

    def __init__(self, transport: Transport, answer: Mapping[str, Any]) -> None:
        self._transport = transport
        self._yaml: Optional[str] = None
        self._set(answer)

    def _set(self, answer: Mapping[str, Any]) -> None:
        self.id = answer["job"]
        for name in ("name", "state", "reason", "metric", "goal", "user", "project", "priority"):
            setattr(self, name, answer[name])
        self.submitted, self.ended = time_of(answer["submitted"]), time_of(answer["ended"])
        self.trial_count = answer["trials"]
        self.finished_trials, self.failed_trials = answer["finished"], answer["failed"]
        self.running_trials, self.cancelled_trials = answer["running"], answer["cancelled"]
        self.waiting = answer.get("waiting", "")
        self._yaml = answer.get("yaml", self._yaml)

    @property
    def has_ended(self) -> bool:
        """As last seen."""
        return self.state in ENDED

    @property
    def yaml(self) -> str:
        """Its specification with every default."""
        if self._yaml is None:
            self.refresh()
        return self._yaml or ""

    def refresh(self) -> Job:
        """Asks the coordinator how it stands; gives itself."""
        self._set(self._transport.get(self._path()))
        return self

    def wait(self, timeout: Optional[float] = None, progress: bool = True) -> Job:
        """Waits until it has ended, well or not (see `state`); gives itself. `timeout`: seconds. `progress`: shows where it
        stands on a terminal or in a notebook. A coordinator that starts again meanwhile is waited for, up to five minutes.
        Errors: TimedOut, and the job goes on; Unreachable."""
        deadline = None if timeout is None else time.monotonic() + timeout
        display = progress_display(progress)
        try:
            display.show(self.refresh())
            if not self.has_ended:
                for answer in JobEvents(self._transport, self.id, deadline):
                    self._set(answer)
                    display.show(self)
                    if self.has_ended:
                        break
        finally:
            display.close()
        if not self.has_ended:
            raise TimedOut(f"after {timeout:g} s {self.summary()}")
        return self

    def trials(
        self,
        where: Where = (),
        sort: Optional[str] = None,
        reverse: bool = False,
        state: Optional[str] = None,
        limit: Optional[int] = None,
    ) -> List[Trial]:
        """Its trials, the best first. `where`: conditions such as "train.lr < 0.01". `sort`: rank, trial, variant, state,
        duration, loss, a parameter or a metric. `limit`: so many at most. Errors: ApiError for what cannot be sorted by."""
        return [Trial(self._transport, each) for each in self._rows(where, sort, reverse, state, limit)]

    def best(self) -> Trial:
        """The trial that ranks first by the job's metric. Errors: none does yet."""
        first = self.trials(sort="rank", limit=1)
        if not first or first[0].rank is None:
            raise Error(f"no trial of job {self.id} has {self.metric} yet; it is {self.refresh().state}")
        return first[0]

    def results(self, where: Where = (), sort: Optional[str] = None, reverse: bool = False) -> pandas.DataFrame:
        """A row for each trial, by its id, the best first: rank, variant, state, the parameters that differ, the metrics of the
        last evaluation, the untrained model's, steps, duration in seconds. Errors: pandas is not installed."""
        columns, rows = self._results(where, sort, reverse)
        return frame({name: [row[i] for row in rows] for i, name in enumerate(columns)}).set_index("trial")

    def curves(self, metric: str, trials: Optional[Sequence[Union[int, Trial]]] = None, points: int = 1000) -> pandas.DataFrame:
        """One metric over the steps, a row for each point: trial, step, value. `trials`: they or their numbers, without it the
        best 50. `points`: of each at most, its ends and extremes stay; 0: all. Errors: pandas is not installed."""
        rows: List[Tuple[str, int, float]] = []
        numbers = None if trials is None else [each.index if isinstance(each, Trial) else each for each in trials]
        parts = [None] if numbers is None else [numbers[i : i + MOST_CURVES] for i in range(0, len(numbers), MOST_CURVES)]
        for part in parts:
            answer = self._transport.get(self._path("/curves"), {"metric": metric, "trial": part, "points": points})
            for trial, curve in answer["curves"].items():
                rows += [(trial, step, number_of(value)) for step, value in zip(curve["steps"], curve["values"])]
        return frame({name: [row[i] for row in rows] for i, name in enumerate(("trial", "step", "value"))})

    def importance(self) -> pandas.DataFrame:
        """Which parameters the metric depends on (functional ANOVA), the largest share of the variance first: parameter, with
        (another parameter, "" for itself alone), share, deviation; `.attrs` has metric, explained and trials."""
        answer = self._transport.get(self._path("/importance"))
        names = ("parameter", "with", "share", "deviation")
        shares = frame({name: [each[name] for each in answer["shares"]] for name in names})
        shares.attrs.update({name: answer[name] for name in ("metric", "explained", "trials")})
        return shares

    def explain(self) -> str:
        """Why it, or what waits of it, does not run: a sentence."""
        return str(self._transport.get(self._path("/explain"))["explanation"])

    def cancel(self) -> int:
        """Ends it; gives how many trials were given up, 0 where it had ended."""
        count = int(self._transport.post(self._path("/cancel"))["cancelled_trials"])
        self.refresh()
        return count

    def pause(self) -> Job:
        """Holds it: its trials stop at the next step and keep what they have learned; gives itself."""
        self._transport.post(self._path("/pause"))
        return self.refresh()

    def resume(self) -> Job:
        """Lets it go on where it was held; gives itself."""
        self._transport.post(self._path("/resume"))
        return self.refresh()

    def set_priority(self, priority: int) -> Job:
        """The higher goes first, and may take gangs away from lower ones; gives itself."""
        self._transport.post(self._path("/priority"), body={"priority": priority})
        return self.refresh()

    def all_curves(
        self, where: Where = (), metrics: Sequence[str] = (), points: int = 0
    ) -> Iterator[Tuple[str, Curves]]:
        """Each trial that has points, in the order of their numbers, with its curves by name: one stream for the whole job,
        however many trials. `where`: of those that meet it. `metrics`: these alone. `points`: of each curve at most, its ends and
        extremes stay; 0: all."""
        query: Dict[str, Any] = {"where": conditions(where), "metric": list(metrics), "points": points}
        return streamed_curves(self._transport, self._path("/metrics"), query)

    def to_csv(self, path: StrPath, where: Where = ()) -> None:
        """results() as a file; needs no pandas. The file is there whole or not at all."""
        columns, rows = self._results(where)
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(columns)
        writer.writerows(rows)
        with written(path) as file:
            file.write(text.getvalue().encode())

    def to_parquet(self, path: StrPath, where: Where = ()) -> None:
        """results() as a file. Errors: pandas, or pyarrow, is not installed."""
        load_pandas()
        load_pyarrow()
        content: bytes = one_type_a_column(self.results(where)).to_parquet(None, engine="pyarrow")
        with written(path) as file:
            file.write(content)

    def curves_to_csv(self, path: StrPath, points: int = 0, where: Where = (), told: Optional[Told] = None) -> None:
        """Every point of every trial as a file: trial, metric, step, value. `told` is called after each trial with how many
        are done, and how many there are."""
        write_curves_csv(self, path, points, where, told)

    def curves_to_parquet(self, path: StrPath, points: int = 0, where: Where = (), told: Optional[Told] = None) -> None:
        """The same as Parquet. Errors: pyarrow is not installed."""
        write_curves_parquet(self, path, points, where, told)

    def to_tensorboard(self, folder: StrPath, points: int = 1000, where: Where = (), told: Optional[Told] = None) -> None:
        """Event files for TensorBoard, a run for each trial, with its parameters and metrics for the HPARAMS page. Written
        again, they take the old ones' place. Times of points are evenly spread from a trial's start to its end. `told` is
        called after each trial with how many are done, and how many there are."""
        write_tensorboard(self, folder, points, where, told)

    def to_mlflow(self, folder: StrPath, points: int = 1000, where: Where = (), told: Optional[Told] = None) -> None:
        """An experiment in MLflow's file store, a run for each trial: folder is the `mlruns` to read it from. Written again, it
        takes the old one's place. `auroc/brick` is named auroc.brick there. Times of points are evenly spread from a trial's start to its end."""
        write_mlflow(self, folder, points, where, told)

    def summary(self) -> str:
        """One line: job 3 'search' running: 12 of 24 trials finished, 2 running, 1 failed"""
        parts = [f"{self.finished_trials} of {self.trial_count} trials finished"]
        counts = ((self.running_trials, "running"), (self.failed_trials, "failed"), (self.cancelled_trials, "cancelled"))
        parts += [f"{count} {what}" for count, what in counts if count]
        why = self.reason or (self.waiting if not self.running_trials and not self.has_ended else "")
        return f"job {self.id} '{self.name}' {self.state}: {', '.join(parts)}" + (f"; {why}" if why else "")

    def _path(self, rest: str = "") -> str:
        return f"/jobs/{self.id}{rest}"

    def _rows(
        self,
        where: Where,
        sort: Optional[str],
        reverse: bool,
        state: Optional[str] = None,
        limit: Optional[int] = None,
        noted: Callable[[Dict[str, Any]], None] = lambda page: None,
    ) -> List[Dict[str, Any]]:
        """The API's rows; `noted` sees each page. All by rank are asked for by number, and ranked here: a trial whose rank
        changes between two pages is then on one of them."""
        by_number = sort in (None, "rank") and limit is None
        query: Dict[str, Any] = {"where": conditions(where), "state": state}
        path = self._path("/trials")
        if by_number:
            answers = pages_by_number(self._transport, path, {**query, "sort": "trial"}, None, "trials", number_of_row)
        else:
            answers = pages(self._transport, path, {**query, "sort": sort, "reverse": reverse or None}, limit)
        rows: List[Dict[str, Any]] = []
        for page in answers:
            noted(page)
            rows += page["trials"]
        unique = list(entries([{"trials": rows}], "trials", "trial", limit))
        return by_rank(unique, reverse) if by_number else unique

    def _results(
        self, where: Where = (), sort: Optional[str] = None, reverse: bool = False
    ) -> Tuple[List[str], List[List[Any]]]:
        """Columns, the first `trial`, and rows."""
        params: Dict[str, None] = {}
        metrics: Dict[str, None] = {}

        def noted(page: Mapping[str, Any]) -> None:
            params.update(dict.fromkeys(page["params"]))
            metrics.update(dict.fromkeys(page["metrics"]))

        trials = [Trial(self._transport, each) for each in self._rows(where, sort, reverse, noted=noted)]
        fixed = ["trial", "rank", "variant", "state"]
        after = ["untrained", "step", "duration", "feasible", "on_front", "reason"]
        taken = {*fixed, *after, *params}
        columns = [*fixed, *params, *(f"metrics.{name}" if name in taken else name for name in metrics), *after]
        return columns, [self._row(trial, list(params), list(metrics)) for trial in trials]

    def _row(self, trial: Trial, params: List[str], metrics: List[str]) -> List[Any]:
        known = {"loss": trial.last_loss, **trial.final}
        return [
            *(trial.id, trial.rank, trial.variant, trial.state),
            *(trial.params.get(name) for name in params),
            *(known.get(name, float("nan")) for name in metrics),
            *(trial.untrained, trial.step, trial.duration, trial.feasible, trial.on_front, trial.reason),
        ]

    def __repr__(self) -> str:
        return f"<hivq.Job {self.summary()[4:]}>"

    def _repr_html_(self) -> str:
        names = ("state", "reason", "waiting", "project", "user")
        rows: List[List[Any]] = [[name, getattr(self, name)] for name in names if getattr(self, name)]
        rows += [["submitted", self.submitted], ["ended", self.ended], ["metric", f"{self.goal} {shown(self.metric)}"]]
        rows += [["trials", self.summary().split(": ", 1)[1]]]
        return table([f"job {self.id}", self.name], rows) + bar(self.finished_trials / max(self.trial_count, 1))


def conditions(where: Where) -> List[str]:
    return [where] if isinstance(where, str) else list(where)


def number_of_row(row: Mapping[str, Any]) -> int:
    return parts_of(row["trial"])[1]


def by_rank(rows: List[Dict[str, Any]], reverse: bool) -> List[Dict[str, Any]]:
    """As the coordinator has it: what has no rank comes last, either way round."""
    sign = -1 if reverse else 1
    return sorted(rows, key=lambda row: (row["rank"] is None, sign * (row["rank"] or 0)))


def one_type_a_column(results: pandas.DataFrame) -> pandas.DataFrame:
    """A column of Parquet has one type: where a parameter is a number here and a word there, all become text."""
    for name in results.columns:
        kinds = {type(value) for value in results[name] if value is not None and value == value}
        if str in kinds and len(kinds) > 1:
            results[name] = [None if value is None or value != value else str(value) for value in results[name]]
    return results
