"""A trial: what it is, its curves, its log and its checkpoints."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Optional, Union

from hivq.answers import Curve, LogLine, TrialSpec, Value, number_of, numbers_of, time_of, value_of
from hivq.errors import ApiError, Error
from hivq.frames import StrPath, frame, written
from hivq.html import duration, shown, size, table
from hivq.pictures import Picture
from hivq.transport import ATTEMPTS, Broken, Transport, chunks, delay

if TYPE_CHECKING:
    import pandas
    import torch

ENDED = ("finished", "failed", "cancelled")
NAME = re.compile("([0-9]{1,12})/([0-9]{1,12})")


@dataclass(frozen=True)
class Checkpoint:
    """A stored checkpoint. bytes: its size. at: when it was stored. metric: the job's, then; NaN where there was none."""

    step: int
    bytes: int
    at: Optional[datetime]
    metric: float
    pinned: bool


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint on this machine, a safetensors file; can be given wherever a path can."""

    path: Path
    trial: str
    step: int

    def __fspath__(self) -> str:
        return str(self.path)

    def tensors(self, device: str = "cpu") -> Dict[str, torch.Tensor]:
        """All tensors by name. Errors: torch or safetensors is not installed."""
        try:
            from safetensors.torch import load_file
        except ImportError:
            raise Error("tensors need torch and safetensors: pip install torch safetensors") from None
        tensors: Dict[str, torch.Tensor] = load_file(self.path, device=device)
        return tensors


class Trial:
    """A training run of a job.

    id: such as 3/0. job_id, index: its parts. variant: its row of the sweep. params: what the sweep sets, by dotted key.
    state: waiting, paused, running, finished, failed or cancelled. stopped_early: the sweep's stopper ended it; it is finished,
    and its `reason` says which and when. attempts: gangs that it was given to. started, ended: UTC, or None. step of total_steps
    (0: not known yet), in `phase`, on `gang`, with `beside` other trials side by side.
    initial, final: metrics of the untrained model and of the last evaluation. checkpoints: those that are stored;
    checkpoint_step: of the newest, -1 where there is none.
    rank by the job's metric from 1 (None: none yet); untrained, trained: that metric; last_loss; feasible: it keeps the sweep's
    constraints; on_front: of several metrics, no other trial is better in one and nowhere worse.
    """

    id: str
    job_id: int
    index: int
    variant: str
    params: Dict[str, Value]
    initial: Dict[str, float]
    final: Dict[str, float]
    state: str
    reason: str
    stopped_early: bool
    attempts: int
    started: Optional[datetime]
    ended: Optional[datetime]
    step: int
    total_steps: int
    phase: str
    gang: str
    beside: int
    checkpoint_step: int
    checkpoints: List[Checkpoint]
    rank: Optional[int]
    untrained: float
    trained: float
    last_loss: float
    feasible: Optional[bool]
    on_front: Optional[bool]

    def __init__(self, transport: Transport, answer: Mapping[str, Any]) -> None:
        self._transport = transport
        self._set(answer)

    def _set(self, answer: Mapping[str, Any]) -> None:
        self.id = answer["trial"]
        self.job_id, self.index = parts_of(self.id)
        self.variant = answer["variant"]
        self._param_texts: Dict[str, str] = dict(answer["params"])
        self.params = {name: value_of(text) for name, text in self._param_texts.items()}
        self.initial, self.final = numbers_of(answer["initial"]), numbers_of(answer["final"])
        for name in ("state", "reason", "stopped_early", "attempts", "step", "total_steps", "phase", "gang", "beside", "checkpoint_step"):
            setattr(self, name, answer[name])
        self.started, self.ended = time_of(answer["started"]), time_of(answer["ended"])
        self.checkpoints = [
            Checkpoint(each["step"], each["bytes"], time_of(each["at"]), number_of(each["metric"]), each["pinned"])
            for each in answer["checkpoints"]
        ]
        self._milliseconds: Optional[int] = answer.get("duration")
        self.rank, self.feasible, self.on_front = (answer.get(name) for name in ("rank", "feasible", "on_front"))
        self.untrained, self.trained, self.last_loss = (
            number_of(answer.get(name)) for name in ("untrained", "trained", "last_loss")
        )

    @property
    def duration(self) -> Optional[float]:
        """Seconds from its start to its end, or to now while it runs; None before."""
        if self._milliseconds is not None and self.started is not None:
            return self._milliseconds / 1000
        if self.started is None:
            return None
        return ((self.ended or datetime.now(timezone.utc)) - self.started).total_seconds()

    @property
    def has_ended(self) -> bool:
        """As last seen."""
        return self.state in ENDED

    def refresh(self) -> Trial:
        """Asks the coordinator how it stands; gives itself."""
        self._set(self._transport.get(self._path()))
        return self

    def curves(self, prefix: str = "", points: int = 1000) -> Dict[str, Curve]:
        """Metrics whose names begin with `prefix`, by name. `points`: of each at most, its ends and extremes stay; 0: all."""
        answer = self._transport.get(self._path("/metrics"), {"prefix": prefix or None, "points": points})
        return {name: Curve.of(curve) for name, curve in answer.items()}

    def metrics(self, prefix: str = "", points: int = 1000) -> pandas.DataFrame:
        """curves() with a row for each point: metric, step, value. Errors: pandas is not installed."""
        curves = self.curves(prefix, points)
        return frame(
            {
                "metric": [name for name, curve in curves.items() for _ in curve.steps],
                "step": [step for curve in curves.values() for step in curve.steps],
                "value": [value for curve in curves.values() for value in curve.values],
            }
        )

    def logs(self, follow: bool = False, interval: float = 1.0) -> Iterator[LogLine]:
        """Lines of its log, from the first. `follow`: waits for more until the trial has ended, asking each `interval` seconds."""
        known, ended = 0, False
        while True:
            lines = self._transport.get(self._path("/logs"), {"after": known})["lines"]
            for line in lines:
                yield LogLine(time_of(line["time"]), line["text"])
            known += len(lines)
            if not lines:
                if ended or not follow:
                    return
                ended = self.refresh().has_ended
                if ended:
                    continue  # to what it wrote before
            if follow:
                time.sleep(interval)

    def spec(self) -> TrialSpec:
        """Its specification, and in what it differs from the defaults."""
        answer = self._transport.get(self._path("/spec"))
        return TrialSpec(answer["yaml"], {each["key"]: (each["value"], each["default"]) for each in answer["differences"]})

    def pictures(self) -> List[Picture]:
        """Test images of its last evaluation with their anomaly maps; none before."""
        return [Picture.of(self._transport, self.id, each) for each in self._transport.get(self._path("/pictures"))["pictures"]]

    def checkpoint(self, step: Union[int, str] = "latest", path: Optional[StrPath] = None) -> CheckpointFile:
        """Downloads a checkpoint. `path`: a file, or a folder for one named hivq-JOB-TRIAL-step-STEP.safetensors, without it
        the current one. Where the connection breaks, it goes on with what is missing. The file is there whole or not at all.
        Errors: there is none; the connection breaks again and again."""
        for attempt in range(1, ATTEMPTS + 1):
            chosen = self._newest() if step == "latest" else int(step)
            place = self._place(path, chosen)
            try:
                self._download(chosen, place)
                return CheckpointFile(place, self.id, chosen)
            except ApiError as refusal:
                # A trial that runs may have replaced its newest meanwhile.
                passing = refusal.status == 503 or (refusal.status == 404 and step == "latest")
                if attempt == ATTEMPTS or not passing:
                    raise
            time.sleep(delay(attempt))
        raise AssertionError("unreachable")

    def pin(self, step: Union[int, str] = "latest") -> int:
        """Keeps a checkpoint whatever the job's retention says; gives its step."""
        return int(self._transport.post(self._path(f"/checkpoints/{step_text(step)}/pin"))["step"])

    def unpin(self, step: Union[int, str] = "latest") -> int:
        """Lets a checkpoint go where retention does not ask for it; gives its step."""
        return int(self._transport.post(self._path(f"/checkpoints/{step_text(step)}/unpin"))["step"])

    def _path(self, rest: str = "") -> str:
        return f"/trials/{self.id}{rest}"

    def _newest(self) -> int:
        if self.refresh().checkpoint_step < 0:
            raise Error(f"trial {self.id} is {self.state} and has no checkpoint")
        return self.checkpoint_step

    def _place(self, path: Optional[StrPath], step: int) -> Path:
        place = Path("." if path is None else path)
        return place / f"hivq-{self.job_id}-{self.index}-step-{step}.safetensors" if place.is_dir() else place

    def _download(self, step: int, path: Path) -> None:
        target = self._path(f"/checkpoints/{step_text(step)}")
        with written(path) as file:
            tag: Optional[str] = None  # of the checkpoint that the file has the beginning of
            attempt = 0
            while True:
                have = file.tell() if tag is not None else 0
                headers = {"Accept": "application/octet-stream"}
                if tag is not None and have > 0:
                    headers.update({"Range": f"bytes={have}-", "If-Range": tag})
                try:
                    with self._transport.stream(target, headers) as response:
                        if response.status != 206:
                            file.seek(0)
                            file.truncate()
                        tag = response.getheader("ETag")
                        for chunk in chunks(response):
                            file.write(chunk)
                    file.flush()
                    tag = None  # all of it came: what is wrong with it is not mended by more
                    check_safetensors(Path(file.name))
                    return os.fsync(file.fileno())
                except Broken as broken:
                    attempt = 1 if tag is not None and file.tell() > have else attempt + 1
                    if attempt >= ATTEMPTS:
                        cause = broken.__cause__ or broken
                        raise self._transport.unreachable(cause) from cause
                time.sleep(delay(attempt))

    def __repr__(self) -> str:
        rank = f", rank {self.rank}" if self.rank is not None else ""
        return f"<hivq.Trial {self.id} {self.state}{rank}>"

    def _repr_html_(self) -> str:
        steps = f"{self.step} of {self.total_steps}" if self.total_steps else str(self.step)
        rows: List[List[Any]] = [["state", f"{self.state}: {self.reason}" if self.reason else self.state]]
        rows += [["variant", self.variant]] if self.variant else []
        rows += [["steps", steps], ["duration", duration(self.duration)]]
        rows += [[name, value] for name, value in self.params.items()]
        for name, value in self.final.items():
            rows.append([name, f"{shown(self.initial[name])} → {shown(value)}" if name in self.initial else value])
        rows += [["checkpoint", f"step {each.step}, {size(each.bytes)}"] for each in self.checkpoints]
        return table(["trial", self.id], rows)


def parts_of(trial: str) -> "tuple[int, int]":
    """Job and number of a name such as 3/0."""
    match = NAME.fullmatch(trial)
    if match is None:
        raise Error(f"a trial is named by its job and its number in it, such as 3/0, and not {trial!r}")
    return int(match[1]), int(match[2])


def step_text(step: Union[int, str]) -> str:
    return "latest" if step == "latest" else str(int(step))


def check_safetensors(path: Path) -> None:
    """A file's length must be what its header says: 8 bytes with the header's length, the header, the tensors."""
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= 100_000_000 else {}
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError):
        length, ends = -1, []
    if not ends or path.stat().st_size != 8 + length + max(ends):
        raise Broken from ConnectionError(f"{path.stat().st_size} bytes came, which are no whole safetensors file")
