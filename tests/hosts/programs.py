"""hivq's programs on the hosts of network.py: a coordinator on head, gangs, and what was once shown of a trial."""

import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from network import HEAD, until

ROOT = Path(__file__).parents[2]
BIN = Path(os.environ.get("HIVQ_BIN_DIR", ROOT / "build" / "release" / "bin"))
ENDPOINT = f"tcp://{HEAD}:4487"
MPI_AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
# Seconds long on one core, by `epochs`; of two steps each.
JOB = """
name: {name}
data: {{name: fashion-mnist, normal_classes: [0, 1], train_per_class: 8, test_per_class: 8, image_size: 64}}
model: {{width: 32, layers: 2, heads: 4, feed_forward: 64, quantizer: {{prototypes: 16, start: data, decay: 0.9}}}}
loss: {{pot: 0}}
train: {{epochs: {epochs}, batch_size: 8, lr: 1.0e-3, lr_drop_epoch: 0, eval_every: 50, checkpoint_every: 5}}
eval: {{pot: 0}}
gang: {{ranks: {ranks}{more}}}
sweep: {{search: grid, parameters: {{train.seed: {seeds}}}}}
"""


def job(name, epochs, trials=1, ranks=2, labels=None):
    more = f", labels: {json.dumps(labels)}" if labels else ""
    return JOB.format(name=name, epochs=epochs, ranks=ranks, more=more, seeds=list(range(trials)))


def worker_of_one_thread(folder):
    """Path of a worker for pools: the hosts share this machine's cores, and one thread's sums are those of any other host's."""
    worker = Path(folder) / "worker"
    worker.write_text(f'#!/bin/sh\nexec {BIN / "hivq-worker"} "$@" --threads 1 --no-bind\n')
    worker.chmod(0o755)
    return worker


class Coordinator:
    """On head, where hosts reach it; its API on head alone."""

    def __init__(self, folder, *options):
        self.folder, self.options = Path(folder), options
        self.data = self.folder / "data"
        self.log = self.folder / "coordinator.log"
        self.url = "http://127.0.0.1:4488"
        self.start()

    def start(self):
        command = [BIN / "hivq-coordinator", "--data", self.data, "--listen", ENDPOINT, "--http", self.url, *self.options]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *map(str, command)], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env={**os.environ, **MPI_AS_ROOT})
        until(self.answers, 30, "the coordinator answers")

    def answers(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.ask("/version")
        except OSError:
            return None

    @property
    def environment(self):
        """What a gang that is started by hand needs to be let in."""
        key = self.data / "keys" / "gang.json"
        return {**os.environ, **MPI_AS_ROOT, **({"HIVQ_KEY": str(key)} if key.exists() else {})}

    @property
    def headers(self):
        key = self.data / "keys" / "operator.json"
        if not key.exists():
            return {}
        token = subprocess.run([BIN / "hivq", "keys", "token", "--key", key], capture_output=True, text=True, check=True).stdout.strip()
        return {"Authorization": f"Bearer {token}"}

    def ask(self, path, body=None):
        data = None if body is None else body.encode()
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data, {"Content-Type": "application/yaml", **self.headers})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            raise AssertionError(f"{path}: {refused.read().decode()}") from None

    def hivq(self, *command):
        done = subprocess.run([BIN / "hivq", *map(str, command), "--data", self.data], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def submit(self, text):
        return self.ask("/jobs?user=ada", text)["job"]

    def job(self, number):
        return self.ask(f"/jobs/{number}")

    def trial(self, number, index=0):
        return self.ask(f"/trials/{number}/{index}")

    def trials(self, number):
        return self.ask(f"/jobs/{number}/trials?limit=1000")["trials"]

    def gangs(self, **labels):
        """Those that are connected."""
        return [gang for gang in self.ask("/gangs")["gangs"] if gang["connected"] and labels.items() <= gang["labels"].items()]

    def points(self, number, index=0):
        """All points of a trial that do not tell of speed: value by name and step."""
        curves = self.ask(f"/trials/{number}/{index}/metrics?points=0")
        return {(name, step): value for name, curve in curves.items() if "per_second" not in name
                for step, value in zip(curve["steps"], curve["values"])}

    def trains_beyond_a_checkpoint(self, number, index=0, after=0):
        trial = self.trial(number, index)
        assert trial["state"] in ("waiting", "pending", "running"), f"{trial['state']} {trial['reason']}: too short to be disturbed"
        # What a gang says of itself once a second may be older than its newest checkpoint.
        step = max(trial["step"], trial["checkpoint_step"])
        return trial["state"] == "running" and after < trial["checkpoint_step"] and dict(trial, step=step)

    def finishes(self, number, seconds):
        """Waits for the job's end; its trials, each finished once."""
        until(lambda: self.job(number)["state"] in ("finished", "failed", "cancelled"), seconds,
              lambda: f"job {number} is {self.job(number)['state']}: {self.ask(f'/jobs/{number}/explain')}\n{self.log.read_text()}")
        trials = self.trials(number)
        assert {trial["state"] for trial in trials} == {"finished"}, trials
        log = self.log.read_text()
        for trial in trials:
            assert log.count(f"trial {trial['trial']} finished") == 1
        return trials

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
