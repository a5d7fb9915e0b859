"""The curves of a job's trials in one stream, which goes on where a connection broke."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, Optional, Sequence, Tuple, Union

from hivq.answers import Curve, number_of
from hivq.errors import ApiError
from hivq.transport import ATTEMPTS, Broken, Query, Transport, chunks, delay, target
from hivq.trial import Trial, parts_of

if TYPE_CHECKING:
    from hivq.job import Job

Curves = Dict[str, Curve]


def trials_with_curves(
    job: Job, where: Union[str, Sequence[str]], points: int, told: Optional[Callable[[int, int], None]]
) -> Iterator[Tuple[Trial, Curves]]:
    """Every trial, by its number, with its curves, none where it has no points yet. `told` is called when the next one is asked
    for: how many are done, and how many there are."""
    trials = sorted(job.trials(where), key=lambda trial: trial.index)
    streamed = job.all_curves(where, points=points)
    at_hand = next(streamed, None)
    for done, trial in enumerate(trials, 1):
        while at_hand is not None and parts_of(at_hand[0])[1] < trial.index:
            at_hand = next(streamed, None)  # of one that came after the list was read
        curves: Curves = {}
        if at_hand is not None and at_hand[0] == trial.id:
            curves = at_hand[1]
            at_hand = next(streamed, None)
        yield trial, curves
        if told is not None:
            told(done, len(trials))


def streamed_curves(transport: Transport, path: str, query: Query) -> Iterator[Tuple[str, Curves]]:
    """Each trial that has points, by its number, with all its curves. Only whole trials are given."""
    done: Optional[int] = None  # the number of the last one that was given
    attempt = 0
    while True:
        try:
            for trial, curves in whole_trials(read_lines(transport, target(path, {**query, "after": done}))):
                done, attempt = parts_of(trial)[1], 0
                yield trial, curves
            return
        except Broken as broken:
            attempt += 1
            if attempt >= ATTEMPTS:
                cause = broken.__cause__ or broken
                raise transport.unreachable(cause) from cause
        except ApiError as refusal:
            attempt += 1
            if refusal.status != 503 or attempt >= ATTEMPTS:
                raise
        time.sleep(delay(attempt))


def read_lines(transport: Transport, path: str) -> Iterator[Dict[str, Any]]:
    """Lines of JSON. Errors: ApiError; Broken."""
    rest = b""
    with transport.stream(path, {"Accept": "application/x-ndjson"}) as response:
        for chunk in chunks(response):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield json.loads(line)
    if rest:
        raise Broken from ConnectionError("the stream ended within a line")


def whole_trials(lines: Iterator[Dict[str, Any]]) -> Iterator[Tuple[str, Curves]]:
    """Lines of one trial, which stand together, put together."""
    trial: Optional[str] = None
    curves: Curves = {}
    for line in lines:
        if line["trial"] != trial:
            if trial is not None:
                yield trial, curves
            trial, curves = line["trial"], {}
        curve = curves.setdefault(line["metric"], Curve([], []))
        curve.steps.extend(line["steps"])
        curve.values.extend(number_of(value) for value in line["values"])
    if trial is not None:
        yield trial, curves
