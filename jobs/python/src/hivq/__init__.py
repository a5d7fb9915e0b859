"""Client of a hivq coordinator: submits jobs, follows them, and reads results, curves and checkpoints.

    import hivq

    client = hivq.Client()                        # HIVQ_URL, else http://127.0.0.1:4488
    job = client.submit("jobs/specs/search.yaml").wait()
    print(job.best().params, job.best().trained)
    job.results()                                 # a pandas DataFrame

Times are `datetime` in UTC, durations seconds, sizes bytes. Whatever goes wrong with the coordinator is a `hivq.Error`.
"""

from hivq.answers import (
    Comparison,
    Curve,
    Estimate,
    Gang,
    LogLine,
    Table,
    TrialSpec,
    Validation,
)
from hivq.client import Client
from hivq.errors import ApiError, Error, Mistake, SpecError, TimedOut, Unreachable
from hivq.job import Job
from hivq.pictures import Picture
from hivq.study import Study, StudyTrial, TrialStopped
from hivq.trial import Checkpoint, CheckpointFile, Trial

__version__ = "0.1.0"

__all__ = [
    "ApiError",
    "Checkpoint",
    "CheckpointFile",
    "Client",
    "Comparison",
    "Curve",
    "Error",
    "Estimate",
    "Gang",
    "Job",
    "LogLine",
    "Mistake",
    "Picture",
    "SpecError",
    "Study",
    "StudyTrial",
    "Table",
    "TimedOut",
    "Trial",
    "TrialSpec",
    "TrialStopped",
    "Unreachable",
    "Validation",
    "__version__",
]
