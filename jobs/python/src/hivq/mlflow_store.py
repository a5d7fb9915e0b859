"""MLflow's file store: EXPERIMENT/meta.yaml, EXPERIMENT/RUN/{meta.yaml, metrics/NAME, params/NAME, tags/NAME}, after
mlflow/store/tracking/file_store.py. Names and ids depend on the job alone, so that writing again replaces."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional

from hivq.answers import Curve
from hivq.curves import Curves, trials_with_curves
from hivq.frames import StrPath, written
from hivq.tensorboard import span, time_at
from hivq.trial import Trial

if TYPE_CHECKING:
    from hivq.job import Job, Told, Where

STATUS = {"running": 1, "waiting": 2, "paused": 2, "finished": 3, "failed": 4, "cancelled": 5}  # RunStatus in service.proto
LOCAL_SOURCE = 4
NOT_IN_NAMES = re.compile(r"[^\w\-. ]", re.ASCII)
LONGEST_TEXT = 6000  # of a parameter


def write_mlflow(job: Job, folder: StrPath, points: int, where: Where, told: Optional[Told]) -> None:
    identity = f"{job.id} {job.name} {milliseconds(job.submitted)}"
    digest = hashlib.sha256(identity.encode()).hexdigest()
    experiment_id = str(10**17 + int(digest, 16) % (9 * 10**17))  # 18 digits, as MLflow's own
    experiment = Path(folder).absolute() / experiment_id
    if (experiment / "meta.yaml").exists():
        shutil.rmtree(experiment)
    for trial, curves in trials_with_curves(job, where, points, told):
        write_run(job, trial, curves, experiment, hashlib.sha256(f"{identity} {trial.id}".encode()).hexdigest()[:32])
    (experiment / "tags").mkdir(parents=True, exist_ok=True)
    text(experiment / "tags" / "hivq.job", str(job.id))
    meta(
        experiment,
        {
            "artifact_location": experiment.as_uri(),
            "creation_time": milliseconds(job.submitted),
            "experiment_id": experiment_id,
            "last_update_time": milliseconds(job.ended or job.submitted),
            "lifecycle_stage": "active",
            "name": f"{job.name} (hivq job {job.id})",
        },
    )


def write_run(job: Job, trial: Trial, curves: Curves, experiment: Path, run_id: str) -> None:
    run = experiment / run_id
    for part in ("artifacts", "metrics", "params", "tags"):
        (run / part).mkdir(parents=True, exist_ok=True)
    for name, value in trial._param_texts.items():
        text(entry(run / "params", name), value[:LONGEST_TEXT])
    write_metrics(trial, curves, run / "metrics")
    tags = {
        "mlflow.runName": trial.id,
        "mlflow.user": job.user,
        "mlflow.source.name": "hivq",
        "hivq.trial": trial.id,
        "hivq.variant": trial.variant,
        "hivq.state": trial.state,
        "hivq.reason": trial.reason,
    }
    for name, value in tags.items():
        if value:
            text(run / "tags" / name, value)
    meta(
        run,
        {
            "artifact_uri": (run / "artifacts").as_uri(),
            "end_time": milliseconds(trial.ended) if trial.has_ended else None,
            "entry_point_name": "",
            "experiment_id": experiment.name,
            "lifecycle_stage": "active",
            "run_id": run_id,
            "run_name": trial.id,
            "run_uuid": run_id,
            "source_name": "",
            "source_type": LOCAL_SOURCE,
            "source_version": "",
            "start_time": milliseconds(trial.started) or milliseconds(job.submitted),
            "status": STATUS.get(trial.state, 1),
            "tags": [],
            "user_id": job.user,
        },
    )


def write_metrics(trial: Trial, curves: Mapping[str, Curve], folder: Path) -> None:
    last = max((step for curve in curves.values() for step in curve.steps), default=0)
    times = span(trial)
    for name, curve in curves.items():
        points = zip(curve.steps, curve.values)
        text(entry(folder, name), "".join(f"{int(time_at(step, last, times) * 1000)} {value!r} {step}\n" for step, value in points))


def entry(folder: Path, name: str) -> Path:
    """The file of a parameter or metric. A slash becomes a dot, since no file `auroc` can stand beside a folder `auroc`; what
    MLflow does not allow in names becomes `_`."""
    plain = NOT_IN_NAMES.sub("_", name.replace("/", "."))
    return folder / (plain if plain.strip(".") else "_")


def text(path: Path, content: str) -> None:
    with written(path) as file:
        file.write(content.encode())


def meta(folder: Path, values: Dict[str, Any]) -> None:
    """Last of what is in its folder: without it MLflow does not see the rest."""
    lines = (f"{name}: {json.dumps(value)}\n" for name, value in values.items())  # JSON is YAML
    text(folder / "meta.yaml", "".join(lines))


def milliseconds(time: Optional[datetime]) -> int:
    return 0 if time is None else round(time.timestamp() * 1000)
