"""A study: a function of your own that is optimised, its trials chosen by the coordinator's searchers and stored as those of any
job. What the function asks for makes up the space; nothing need be said beforehand (define-by-run, as in Optuna).

    def objective(trial):
        x = trial.suggest_float("x", -5, 5)
        for epoch in range(1, 11):
            loss = ...
            trial.report(loss, epoch)
            if trial.should_stop():
                raise hivq.TrialStopped
        return loss

    study = client.study("tune-my-thing", trials=50)
    study.optimize(objective, workers=4)
"""

from __future__ import annotations

import math
import secrets
import threading
import time
import traceback
import weakref
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Type, TypeVar, Union

from hivq.answers import number_of
from hivq.errors import ApiError, Error, Unreachable
from hivq.html import shown, table
from hivq.job import Job
from hivq.transport import Resend, Transport
from hivq.trial import Trial, parts_of

KEEP_ALIVE = 15.0  # seconds between two signs of life; the coordinator gives a trial up after 60 s of silence
PATIENCE = 300.0  # seconds that a coordinator that is away is waited for
SHORTEST_WAIT, LONGEST_WAIT = 0.1, 1.0  # seconds between two questions for a trial where there is none yet

Scalar = Union[None, bool, int, float, str]
Choice = TypeVar("Choice", bound=Scalar)
Metrics = Union[float, Mapping[str, float]]
Objective = Callable[["StudyTrial"], Optional[Metrics]]
Caught = Tuple[Type[BaseException], ...]
Answer = TypeVar("Answer")


class TrialStopped(Exception):
    """What an objective raises to end its trial early: after should_stop(), or when it knows better. The trial is finished with
    the metrics that it reported last."""


class StudyTrial:
    """A trial that this program runs.

    id: such as 3/0. job_id, index: its parts. params: what it has asked for so far. `reason`: why it is to stop, where it is.
    """

    def __init__(self, study: Study, answer: Mapping[str, Any]) -> None:
        self._transport = study._transport
        self._metric = study.metric
        self._study = study
        self.id: str = answer["trial"]
        self.job_id, self.index = parts_of(self.id)
        self.params: Dict[str, Scalar] = {}
        self.reason = ""
        self._lease: int = answer["lease"]
        self._ranges: Dict[str, Any] = {}
        self._step = -1
        self._metrics: Dict[str, float] = {}
        self._stop = False
        self._ended = False
        self._spoke = time.monotonic()

    def suggest_float(self, name: str, low: float, high: float, step: Optional[float] = None, log: bool = False) -> float:
        """A number from low to high, both included. `step`: low, low + step, … alone. `log`: evenly in the logarithm."""
        low, high = float(low), float(high)
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise Error(f"{name} goes from {low} to {high}; it needs a low and a high that is not below it")
        if log and step is not None:
            raise Error(f"{name} has a step and is logarithmic; choose one of the two")
        if step is not None and not step > 0:
            raise Error(f"{name} has the step {step}; it must be above 0")
        if low == high or (step is not None and step > high - low):
            return float(self._suggest(name, [low]))
        if log:
            return float(self._suggest(name, {"log_uniform": [low, high]}))
        if step is not None:
            return float(self._suggest(name, {"uniform": [low, high], "step": float(step)}))
        return float(self._suggest(name, {"uniform": [low, high]}))

    def suggest_int(self, name: str, low: int, high: int, step: int = 1, log: bool = False) -> int:
        """A whole number from low to high, both included. `step`: low, low + step, … alone. `log`: evenly in the logarithm."""
        if int(low) != low or int(high) != high or int(step) != step or step < 1 or low > high:
            raise Error(f"{name} goes from {low} to {high} by {step}; it needs whole numbers, a high that is not below low, a step from 1")
        if log and (step != 1 or low < 1):
            raise Error(f"{name} is logarithmic; it must begin at 1 or above, and have no step")
        low, high, step = int(low), int(high), int(step)
        if low == high or step > high - low:
            return int(self._suggest(name, [low]))
        if log:
            return int(self._suggest(name, {"log_integer": [low, high]}))
        return int(self._suggest(name, {"integer": [low, high], **({"step": step} if step > 1 else {})}))

    def suggest_categorical(self, name: str, choices: Sequence[Choice]) -> Choice:
        """One of the choices: flags, numbers, texts or None."""
        sent = [sent_choice(name, each) for each in choices]
        if not sent:
            raise Error(f"{name} has no choices; give at least one")
        text = self._suggest(name, sent)
        for choice, each in zip(choices, sent):
            if is_text_of(text, each):
                self.params[name] = choice
                return choice
        raise Error(f"{name} is {text!r}, which is none of its choices")

    def report(self, metrics: Metrics, step: int) -> None:
        """A point of the trial's curves: the study's metric, or several by name. Stored when it returns. Steps (epochs) rise."""
        if int(step) != step or step < 0:
            raise Error(f"trial {self.id} reports step {step}; it must be a whole number from 0")
        if step <= self._step:
            raise Error(f"trial {self.id} reports step {step} after step {self._step}; steps must rise, with all metrics of a step in one report")
        values = self._by_name(metrics)
        self._step = int(step)
        self._metrics.update(values)
        if not self._ended:
            self._tell([{"step": int(step), "metrics": sent_metrics(values)}])

    def should_stop(self) -> bool:
        """The trial shall end: the study's stopper has seen enough of it, or the study was cancelled (see `reason`)."""
        return self._stop

    def end(self, metrics: Optional[Metrics] = None, state: str = "finished", reason: str = "") -> None:
        """Ends a trial that Study.ask() gave. state: finished, stopped (early), or failed with a reason. Errors: ApiError of status
        409 where it has ended otherwise, of 422 where it cannot finish without the study's metric."""
        values = {} if metrics is None else self._by_name(metrics)
        body = {"lease": self._lease, "state": state, "metrics": sent_metrics(values), "reason": reason[:2000]}
        patiently(lambda: self._transport.post(self._path("end"), None, body, Resend.ALWAYS))
        self._metrics.update(values)
        self._let_go()

    def _by_name(self, metrics: Metrics) -> Dict[str, float]:
        named = metrics if isinstance(metrics, Mapping) else {self._metric: metrics}
        try:
            return {str(name): float(value) for name, value in named.items()}
        except (TypeError, ValueError):
            raise Error(f"trial {self.id} gave {metrics!r}; it must be a number, or numbers by name") from None

    def _suggest(self, name: str, range: Any) -> str:
        """The value's text. Asked again in the same way, it is known."""
        before = self._ranges.get(name)
        if before is not None and before[0] == range:
            return str(before[1])
        body = {"lease": self._lease, "name": name, "range": range}
        answer = patiently(lambda: self._transport.post(self._path("suggest"), None, body, Resend.ALWAYS))
        text = str(answer["value"])
        self._spoke = time.monotonic()
        self._ranges[name] = (range, text)
        self.params[name] = text if isinstance(range, list) else number_text(text)
        if isinstance(range, list) and len(range) == 1:
            self.params[name] = range[0]
        return text

    def _tell(self, points: List[Dict[str, Any]]) -> None:
        body = {"lease": self._lease, "points": points}
        answer = patiently(lambda: self._transport.post(self._path("report"), None, body, Resend.ALWAYS))
        self._spoke = time.monotonic()
        self._hear(answer)

    def _hear(self, answer: Mapping[str, Any]) -> None:
        self._stop = self._stop or bool(answer["stop"])
        self.reason = str(answer["reason"]) or self.reason
        if answer["ended"]:
            self._let_go()

    def _keep_alive(self) -> None:
        """Once in a while from a thread, where nothing else was said."""
        if self._ended or time.monotonic() - self._spoke < KEEP_ALIVE / 2:
            return
        try:
            body = {"lease": self._lease, "points": []}
            self._hear(self._transport.post(self._path("report"), None, body, Resend.ALWAYS))
            self._spoke = time.monotonic()
        except Error:
            pass  # whoever runs the trial hears of it

    def _let_go(self) -> None:
        self._ended = True
        self._study._keeper.let_go(self)

    def _path(self, what: str) -> str:
        return f"/trials/{self.id}/{what}"

    def __repr__(self) -> str:
        return f"<hivq.StudyTrial {self.id} {self.params}>"

    def _repr_html_(self) -> str:
        rows: List[List[Any]] = [[name, value] for name, value in self.params.items()]
        rows += [[name, value] for name, value in self._metrics.items()]
        rows += [["step", self._step]] if self._step >= 0 else []
        rows += [["to stop", shown(self.reason)]] if self._stop else []
        return table(["trial", self.id], rows)


class Keeper:
    """A thread that says for all trials of a study that their program lives. A trial that nobody holds any more is given up."""

    def __init__(self) -> None:
        self._trials: weakref.WeakSet[StudyTrial] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._thread: Optional[threading.Thread] = None

    def keep(self, trial: StudyTrial) -> None:
        with self._lock:
            self._trials.add(trial)
            if self._thread is None or not self._thread.is_alive():  # as in a process that was forked
                self._thread = threading.Thread(target=self._run, name="hivq-study", daemon=True)
                self._thread.start()

    def let_go(self, trial: StudyTrial) -> None:
        with self._lock:
            self._trials.discard(trial)

    def _run(self) -> None:
        while True:
            time.sleep(KEEP_ALIVE)
            with self._lock:
                trials = list(self._trials)
                if not trials:
                    self._thread = None
                    return
            for trial in trials:
                trial._keep_alive()
            del trial, trials  # held by their program alone


class Study(Job):
    """A job whose trials this program, and any other that opens the study by its name, runs. Everything else is a Job's."""

    def __init__(self, transport: Transport, answer: Mapping[str, Any]) -> None:
        super().__init__(transport, answer)
        self._keeper = Keeper()

    @property
    def best_trial(self) -> Trial:
        """The trial that ranks first by the study's metric. Errors: none does yet."""
        return self.best()

    @property
    def best_params(self) -> Dict[str, Any]:
        return dict(self.best().params)

    @property
    def best_value(self) -> float:
        return number_of(self.best().trained)

    def ask(self, timeout: Optional[float] = None) -> Optional[StudyTrial]:
        """A trial to run, for a loop of your own: ask for its parameters, report, and end() it. None where there are no more.
        Waits where the study is paused, or its search must hear first how other trials end; `timeout`: seconds, then None."""
        return self._ask(None if timeout is None else time.monotonic() + timeout, threading.Event())

    def optimize(self, objective: Objective, trials: Optional[int] = None, workers: int = 1, catch: Union[Type[BaseException], Caught] = ()) -> Study:
        """Runs the objective until the study has had all of its trials; gives itself.

        objective: asks a StudyTrial for parameters and returns the metric, or metrics by name; None stands for what it reported
        last. trials: that this call runs at most. workers: threads. catch: exceptions that only fail their trial; with any other
        one no more trials begin, and it is raised when those under way have ended. Ctrl-C fails what runs, and returns."""
        if workers < 1 or (trials is not None and trials < 0):
            raise Error(f"workers is {workers} and trials is {trials}; there must be a worker at least, and no fewer trials than 0")
        run = Run(self, objective, catch if isinstance(catch, tuple) else (catch,), trials)
        try:
            if workers == 1:
                run.work()
            else:
                run.in_threads(workers)
        except KeyboardInterrupt:
            run.interrupt()
        if run.failure is not None:
            raise run.failure
        patiently(self.refresh)
        return self

    def _ask(self, deadline: Optional[float], stopping: threading.Event) -> Optional[StudyTrial]:
        body = {"key": secrets.token_hex(12)}
        wait = SHORTEST_WAIT
        while not stopping.is_set():
            answer = patiently(lambda: self._transport.post(f"/studies/{self.id}/ask", None, body, Resend.ALWAYS))
            if answer["state"] == "trial":
                trial = StudyTrial(self, answer)
                self._keeper.keep(trial)
                return trial
            if answer["state"] == "ended":
                return None
            left = LONGEST_WAIT if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return None
            stopping.wait(min(wait, left))
            wait = min(2 * wait, LONGEST_WAIT)
        return None


class Run:
    """One call of optimize()."""

    def __init__(self, study: Study, objective: Objective, catch: Caught, trials: Optional[int]) -> None:
        self._study, self._objective, self._catch, self._left = study, objective, catch, trials
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._running: Dict[str, StudyTrial] = {}
        self.failure: Optional[BaseException] = None

    def work(self) -> None:
        """Trial after trial, until there are no more, or one has failed as it must not."""
        while self._take():
            trial = self._study._ask(None, self._stopping)
            if trial is None:
                return
            with self._lock:
                self._running[trial.id] = trial
            try:
                self._run(trial)
            finally:
                with self._lock:
                    self._running.pop(trial.id, None)

    def in_threads(self, workers: int) -> None:
        threads = [threading.Thread(target=self._work_noting, name=f"hivq-worker-{i}", daemon=True) for i in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)  # so that Ctrl-C is heard

    def interrupt(self) -> None:
        """What runs has failed, and the threads end as soon as their objectives look."""
        self._stopping.set()
        with self._lock:
            running = list(self._running.values())
        for trial in running:
            trial._stop = True
            finish(trial, "failed", reason="interrupted by its user")

    def _take(self) -> bool:
        with self._lock:
            if self._stopping.is_set() or self._left == 0:
                return False
            if self._left is not None:
                self._left -= 1
            return True

    def _work_noting(self) -> None:
        try:
            self.work()
        except BaseException as failure:
            with self._lock:
                self.failure = self.failure or failure
            self._stopping.set()

    def _run(self, trial: StudyTrial) -> None:
        try:
            result = self._objective(trial)
            values = {} if result is None else trial._by_name(result)
        except TrialStopped as stopped:
            return finish(trial, "stopped", reason=str(stopped))
        except KeyboardInterrupt:
            finish(trial, "failed", reason="interrupted by its user")
            raise
        except BaseException as failure:
            finish(trial, "failed", reason=last_line(failure))
            if not isinstance(failure, self._catch):
                raise
            return
        try:
            finish(trial, "finished", values)
        except ApiError as refusal:  # it lacks the study's metric
            finish(trial, "failed", reason=str(refusal))
            raise


def finish(trial: StudyTrial, state: str, values: Optional[Mapping[str, float]] = None, reason: str = "") -> None:
    """Ends a trial; one that was cancelled or given up meanwhile has ended."""
    if trial._ended:
        return
    try:
        trial.end(values, state, reason)
    except ApiError as refusal:
        if refusal.status != 409:
            raise
        trial._stop, trial.reason = True, str(refusal)
        trial._let_go()


def patiently(ask: Callable[[], Answer]) -> Answer:
    """The answer of a coordinator that may be away for a while: started again, or its disk full. Whatever is asked may be asked
    again."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return ask()
        except (Unreachable, ApiError) as problem:
            away = isinstance(problem, Unreachable) or problem.status in (503, 507)
            if not away or time.monotonic() >= until:
                raise
        time.sleep(LONGEST_WAIT)


def sent_choice(name: str, choice: Any) -> Union[bool, int, float, str]:
    """As it goes to the coordinator: None as a text."""
    if choice is None:
        return "None"
    if hasattr(choice, "item"):  # NumPy's
        choice = choice.item()
    if isinstance(choice, (bool, int, str)) or (isinstance(choice, float) and math.isfinite(choice)):
        return choice
    raise Error(f"{name} has the choice {choice!r}; choices are flags, finite numbers, texts or None")


def is_text_of(text: str, choice: Union[bool, int, float, str]) -> bool:
    if isinstance(choice, bool):
        return text == ("true" if choice else "false")
    if isinstance(choice, str):
        return text == choice
    try:
        return float(text) == choice
    except ValueError:
        return False


def number_text(text: str) -> Union[int, float]:
    try:
        return int(text)
    except ValueError:
        return float(text)


def sent_metrics(values: Mapping[str, float]) -> Dict[str, Optional[float]]:
    """JSON has no number that is not finite."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def last_line(failure: BaseException) -> str:
    """An exception as the last line of its traceback says it: ValueError: …"""
    return " ".join("".join(traceback.format_exception_only(type(failure), failure)).split())[:500]
