"""Against a real coordinator and a real, small sweep; skipped where they have not been built."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import hivq
import pytest

BIN = Path(os.environ.get("HIVQ_BIN_DIR", Path(__file__).parents[2] / "build" / "release" / "bin"))
SPEC = {
    "name": "python",
    "data": {"name": "fashion-mnist", "normal_classes": [0, 1], "train_per_class": 40, "test_per_class": 20, "image_size": 64},
    "model": {"width": 16, "layers": 1, "heads": 2, "feed_forward": 32, "quantizer": {"prototypes": 8, "start": "data", "decay": 0.9}},
    "loss": {"pot": 0},
    "train": {"epochs": 2, "batch_size": 16, "eval_every": 1, "checkpoint_every": 1},
    "eval": {"pot": 0},
    "gang": {"ranks": 1},
    "sweep": {
        "metric": "auroc",
        "goal": "maximize",
        "parameters": {"train.lr": [1e-05, 1e-3, 1e-2, 3e-2], "model.dropout": [0.0, 0.2]},
    },
}  # fmt: skip

pytestmark = pytest.mark.skipif(
    any(not (BIN / program).exists() for program in ("hivq-coordinator", "hivq-worker")), reason=f"no hivq in {BIN}"
)


class Coordinator:
    """One of its own folder, on a port that stays, with one gang."""

    def __init__(self, folder, gangs=1):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        self.folder = folder
        self.gangs = gangs
        self.start()

    def start(self):
        environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
        options = ["--data", self.folder / "data", "--listen", "tcp://127.0.0.1:0", "--http", self.url, "--local-gangs", str(self.gangs)]
        with open(self.folder / "coordinator.log", "ab") as log:
            self.process = subprocess.Popen([BIN / "hivq-coordinator", *options], stdout=log, stderr=log, env=environment)

    def end(self, with_signal=signal.SIGTERM):
        self.process.send_signal(with_signal)
        self.process.wait(60)


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory):
    running = Coordinator(tmp_path_factory.mktemp("hivq"))
    yield running
    running.end()


@pytest.fixture(scope="module")
def client(coordinator):
    return hivq.Client(coordinator.url, timeout=10)


@pytest.fixture(scope="module")
def job(client, coordinator):
    """Finished, though the coordinator was killed while it was waited for."""
    job = client.submit(SPEC, user="ada")

    def kill():
        deadline = time.monotonic() + 120
        while client.job(job.id).finished_trials == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        coordinator.end(signal.SIGKILL)
        time.sleep(8)  # longer than a question is repeated
        coordinator.start()

    killing = threading.Thread(target=kill)
    killing.start()
    try:
        return job.wait(timeout=300, progress=False)
    finally:
        killing.join()


def test_a_job_is_waited_for_across_a_killed_coordinator(job):
    assert job.state == "finished" and job.finished_trials == job.trial_count == 8 and job.user == "ada"
    assert "train:" in job.yaml and job.explain()


def test_results_are_those_of_the_trials(client, job):
    best = job.best()
    assert best.rank == 1 and best.trained == best.final["auroc"] and isinstance(best.params["train.lr"], float)
    trials = job.trials(where=["train.lr >= 0.001", "state = finished"], sort="loss", reverse=True)
    assert len(trials) == 6 and best.duration > 0
    assert client.trial(best.id).final == best.final
    assert {name for name in best.curves() if name in ("auroc", "loss")} == {"auroc", "loss"}
    assert isinstance(list(best.logs()), list)
    assert dict(best.spec().differences)["train.lr"][0]
    assert [gang.host for gang in client.gangs()] and client.version()


def test_frames_hold_what_the_api_says(client, job):
    pytest.importorskip("pandas")
    results = job.results()
    assert results.shape[0] == 8 and results["auroc"].is_monotonic_decreasing and set(results["model.dropout"]) == {0.0, 0.2}
    assert set(job.curves("loss")["trial"]) == set(results.index)
    assert job.importance().attrs["trials"] == 8
    metrics = job.best().metrics("auroc")
    assert set(metrics.columns) == {"metric", "step", "value"} and len(metrics) >= 3
    table = client.query(f"SELECT id, auroc, [train.lr] FROM trials_of_{job.id} ORDER BY auroc DESC").to_pandas()
    assert table["id"][0] == job.best().id
    assert client.compare(job.trials(limit=2)).to_pandas().shape[0] == 2


def test_a_checkpoint_is_fetched(job, tmp_path):
    best = job.best()
    file = best.checkpoint(path=tmp_path)
    data = file.path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert file.step == best.checkpoint_step and len(header) > 5
    assert best.pin() == file.step and best.refresh().checkpoints[-1].pinned and best.unpin() == file.step


def test_mistakes_have_file_and_line(client, tmp_path):
    file = tmp_path / "wrong.yaml"
    file.write_text("name: wrong\ntrain:\n  batch_size: 0\n")
    with pytest.raises(hivq.SpecError, match=rf"^{file}:3: train.batch_size is 0; it must be at least 1"):
        client.submit(file)
    assert not client.validate(file) and client.validate(SPEC).estimate.trials == 8
    with pytest.raises(hivq.ApiError, match="there is no job 99"):
        client.job(99)
    with pytest.raises(hivq.ApiError):
        client.query("DELETE FROM jobs")


def test_a_job_is_held_let_go_and_ended(client, job):
    held = client.submit({**SPEC, "name": "held"}).pause()
    assert held.state in ("paused", "pausing") and held.id in [each.id for each in client.jobs(name="held")]
    assert held.set_priority(3).priority == 3
    assert held.resume().state in ("waiting", "running") and held.cancel() > 0
    assert held.wait(timeout=60, progress=False).state == "cancelled"


def test_everything_is_written_elsewhere(job, tmp_path):
    job.to_csv(tmp_path / "a.csv")
    job.to_tensorboard(tmp_path / "runs")
    job.to_mlflow(tmp_path / "mlruns")
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 9 and len(list(tmp_path.glob("runs/*/*"))) == 8
    assert len(list(tmp_path.glob("mlruns/*/*/metrics/auroc"))) == 8
