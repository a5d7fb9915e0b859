"""TensorBoard's event files, without TensorFlow: records of tensorflow/core/lib/io/record_writer.h that hold messages of
tensorflow/core/util/event.proto, summary.proto and tensorboard/plugins/hparams/plugin_data.proto."""

from __future__ import annotations

import math
import struct
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Iterator, List, Mapping, Optional, Tuple, Union

from hivq.answers import Curve, Value
from hivq.curves import trials_with_curves
from hivq.frames import StrPath, written
from hivq.trial import Trial

if TYPE_CHECKING:
    from hivq.job import Job, Told, Where


def crc_table() -> List[int]:
    """CRC-32C (Castagnoli), reflected, by byte."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = crc_table()


def masked_crc32c(data: bytes) -> int:
    """As records have it: rotated and added to, since a checksum of what holds checksums says little."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))


# Fields of protocol buffers, by the kind on the wire.


def varint(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def whole(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def double(field: int, value: float) -> bytes:
    return varint(field << 3 | 1) + struct.pack("<d", value)


def nested(field: int, data: Union[bytes, str]) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def single(field: int, value: float) -> bytes:
    try:
        return varint(field << 3 | 5) + struct.pack("<f", value)
    except OverflowError:  # beyond float32
        return varint(field << 3 | 5) + struct.pack("<f", math.copysign(math.inf, value))


# Event: wall_time 1, step 2, file_version 3, summary 5. Summary: value 1. Value: tag 1, simple_value 2, tensor 8, metadata 9.


def event(seconds: float, step: int, what: bytes) -> bytes:
    return record(double(1, seconds) + whole(2, step) + what)


def scalars(seconds: float, step: int, values: Mapping[str, float]) -> bytes:
    return event(seconds, step, nested(5, b"".join(nested(1, nested(1, tag) + single(2, value)) for tag, value in values.items())))


def hparams_event(seconds: float, tag: str, content: bytes) -> bytes:
    """PluginData of the hparams page. SummaryMetadata: plugin_data 1 {plugin_name 1, content 2}. The tensor is empty:
    TensorProto dtype 1 (float), tensor_shape 2 {dim 2 {size 0}}."""
    metadata = nested(1, nested(1, "hparams") + nested(2, content))
    tensor = whole(1, 1) + nested(2, nested(2, b""))
    return event(seconds, 0, nested(5, nested(1, nested(1, tag) + nested(8, tensor) + nested(9, metadata))))


def protobuf_value(value: Value) -> bytes:
    """google.protobuf.Value: number 2, text 3, flag 4."""
    if isinstance(value, bool):
        return whole(4, int(value))
    return nested(3, value) if isinstance(value, str) else double(2, float(value))


def hparams(trial: Trial, metrics: List[str], began: float) -> Iterator[bytes]:
    """The experiment, this session's start with its parameters, and its end. HParamsPluginData: experiment 2, session_start_info
    3, session_end_info 4. Experiment: time_created_secs 3, hparam_infos 4, metric_infos 5. Each run tells the experiment by itself, so that any choice of runs can be shown."""
    kinds = {bool: 2, str: 1}
    infos = b"".join(nested(4, nested(1, name) + whole(4, kinds.get(type(value), 3))) for name, value in trial.params.items())
    shown = b"".join(nested(5, nested(1, nested(2, name))) for name in metrics)
    yield hparams_event(began, "_hparams_/experiment", nested(2, double(3, began) + infos + shown))
    params = b"".join(nested(1, nested(1, name) + nested(2, protobuf_value(value))) for name, value in trial.params.items())
    yield hparams_event(began, "_hparams_/session_start_info", nested(3, params + nested(4, trial.id) + double(5, began)))
    if trial.ended is not None:
        status = {"finished": 1, "failed": 2}.get(trial.state, 0)
        ended = trial.ended.timestamp()
        yield hparams_event(ended, "_hparams_/session_end_info", nested(4, whole(1, status) + double(2, ended)))


def by_step(curves: Mapping[str, Curve]) -> Dict[int, Dict[str, float]]:
    steps: Dict[int, Dict[str, float]] = {}
    for name, curve in curves.items():
        for step, value in zip(curve.steps, curve.values):
            steps.setdefault(step, {})[name] = value
    return dict(sorted(steps.items()))


def span(trial: Trial) -> Tuple[float, float]:
    """Seconds since 1970 of its start and of its end, or now."""
    now = datetime.now(timezone.utc)
    began = trial.started or trial.ended or now
    return began.timestamp(), max((trial.ended or now).timestamp(), began.timestamp())


def time_at(step: int, last: int, times: Tuple[float, float]) -> float:
    """The API has no times of points: steps are taken to last equally long."""
    return times[0] + (times[1] - times[0]) * (step / last if last > 0 else 0.0)


def write_tensorboard(job: Job, folder: StrPath, points: int, where: Where, told: Optional[Told]) -> None:
    for trial, curves in trials_with_curves(job, where, points, told):
        times = span(trial)
        name = f"events.out.tfevents.{int(times[0]):010d}.hivq.{trial.job_id}.{trial.index}"
        with written(Path(folder) / f"{trial.job_id}-{trial.index}" / name) as file:
            file.write(record(double(1, times[0]) + nested(3, "brain.Event:2")))
            for data in hparams(trial, [job.metric], times[0]):
                file.write(data)
            steps = by_step(curves)
            last = max(steps, default=0)
            for step, values in steps.items():
                file.write(scalars(time_at(step, last, times), step, values))
