"""The Python of jobs/TUTORIAL.md, taken from the file itself, against a real coordinator; skipped where there is none."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import hivq
import pytest
from test_real import SPEC, Coordinator, pytestmark  # noqa: F401

TUTORIAL = Path(__file__).parents[2] / "jobs" / "TUTORIAL.md"


@pytest.fixture
def coordinator(tmp_path):
    running = Coordinator(tmp_path)
    yield running
    running.end()


def test_the_tutorials_python_runs_as_it_stands(coordinator, tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```$", TUTORIAL.read_text(), re.M | re.S)
    assert blocks
    with hivq.Client(coordinator.url) as client:
        job = client.submit(SPEC)
        job.wait(timeout=300)
        trained = job.best().trained
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    environment = dict(os.environ, HIVQ_URL=coordinator.url)
    ended = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout) == trained
    events = list((folder / "runs").rglob("events.out.tfevents.*"))
    assert events and all(file.stat().st_size > 100 for file in events)
    assert list((folder / "mlruns").rglob("metrics/*"))
    with open(folder / "results.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 8
