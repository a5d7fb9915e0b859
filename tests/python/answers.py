"""Answers of a coordinator with one job of three trials."""

import json
import struct

from stub import Answer


def job(state="running", **changes):
    ended = 1_700_000_090_000 if state in ("finished", "failed", "cancelled") else None
    values = {
        "job": 3, "name": "search", "state": state, "reason": "", "submitted": 1_700_000_000_000, "ended": ended, "trials": 3,
        "finished": 3 if ended else 1, "failed": 0, "running": 0 if ended else 2, "cancelled": 0, "metric": "auroc",
        "goal": "maximize", "user": "ada", "project": "hvq", "priority": 0,
    }  # fmt: skip
    return {**values, **changes}


def detail(state="running", **changes):
    return {**job(state), "waiting": "", "yaml": "name: search\n", **changes}


def trial(index, **changes):
    values = {
        "trial": f"3/{index}", "variant": "", "params": {"train.lr": f"{10.0 ** -(index + 2):g}", "eval.score": "max", "model.dropout": "0"},
        "initial": {"auroc": 0.5}, "final": {"auroc": 0.9 - index / 10, "auroc/brick": None}, "state": "finished", "reason": "",
        "stopped_early": False, "attempts": 1, "started": 1_700_000_010_000, "ended": 1_700_000_050_000, "step": 40, "total_steps": 40, "phase": "",
        "gang": "", "beside": 0, "checkpoint_step": 40,
        "checkpoints": [{"step": 40, "bytes": 128, "at": 1_700_000_050_000, "metric": 0.9, "pinned": False}],
    }  # fmt: skip
    return {**values, **changes}


def row(index, **changes):
    more = {
        "rank": index + 1, "untrained": 0.5, "trained": 0.9 - index / 10, "last_loss": 17.5, "last_step": 40, "duration": 40_000,
        "feasible": True, "on_front": index == 0,
    }  # fmt: skip
    return {**trial(index), **more, **changes}


def trial_page(rows, total=None):
    return {"trials": rows, "total": len(rows) if total is None else total, "params": ["train.lr"], "metrics": ["auroc", "loss"]}


def curves(index=0):
    return {
        "loss": {"steps": [1, 20, 40], "values": [30.25, None, 17.5]},
        "auroc": {"steps": [0, 40], "values": [0.5, 0.9 - index / 10]},
        "auroc/brick": {"steps": [40], "values": [0.75]},
    }


def curve_lines(*trials, **changes):
    """The stream of all curves of trials, by number."""
    lines = [{"trial": f"3/{index}", "metric": name, **curve} for index in trials for name, curve in sorted(curves(index).items())]
    return ndjson(lines, **changes)


def ndjson(lines, **changes):
    return Answer(200, "".join(json.dumps(line) + "\n" for line in lines).encode(), "application/x-ndjson", **changes)


def safetensors(**tensors):
    """A file of float32 vectors."""
    header, data = {}, b""
    for name, values in tensors.items():
        header[name] = {"dtype": "F32", "shape": [len(values)], "data_offsets": [len(data), len(data) + 4 * len(values)]}
        data += struct.pack(f"<{len(values)}f", *values)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def events(*states, first=1):
    """The stream's text; of each state (version, event, Job)."""
    return [
        f"id: {first + i}\nevent: {name}\ndata: {json.dumps(state)}\n\n".encode() for i, (name, state) in enumerate(states)
    ]
