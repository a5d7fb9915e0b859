"""The points of all trials as one table in a file: trial, metric, step, value."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from hivq.curves import trials_with_curves
from hivq.frames import StrPath, load_pyarrow, written

if TYPE_CHECKING:
    from hivq.job import Job, Told, Where

COLUMNS = ("trial", "metric", "step", "value")
ROWS_A_GROUP = 1_000_000  # of Parquet


def write_curves_csv(job: Job, path: StrPath, points: int, where: Where, told: Optional[Told]) -> None:
    with written(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        for trial, curves in trials_with_curves(job, where, points, told):
            for metric, curve in curves.items():
                writer.writerows((trial.id, metric, step, value) for step, value in zip(curve.steps, curve.values))
        text.flush()
        text.detach()


def write_curves_parquet(job: Job, path: StrPath, points: int, where: Where, told: Optional[Told]) -> None:
    pyarrow = load_pyarrow()
    word = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    schema = pyarrow.schema(list(zip(COLUMNS, (word, word, pyarrow.int64(), pyarrow.float64()))))
    with written(path) as file, pyarrow.parquet.ParquetWriter(file, schema) as writer:
        rows: Dict[str, List[Any]] = {name: [] for name in COLUMNS}

        def flush() -> None:
            writer.write_table(pyarrow.table(rows, schema=schema))
            for column in rows.values():
                column.clear()

        for trial, curves in trials_with_curves(job, where, points, told):
            for metric, curve in curves.items():
                rows["trial"] += [trial.id] * len(curve.steps)
                rows["metric"] += [metric] * len(curve.steps)
                rows["step"] += curve.steps
                rows["value"] += curve.values
            if len(rows["step"]) >= ROWS_A_GROUP:
                flush()
        flush()
