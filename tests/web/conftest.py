"""A real coordinator with a real, finished sweep, for the tests in a browser and of the API."""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

expect.set_options(timeout=30_000)  # a machine may be slow; what is there is seen at once

ROOT = Path(__file__).parents[2]
BIN = Path(os.environ.get("HIVQ_BIN_DIR", ROOT / "build" / "release" / "bin"))
# Table 1 of quick.yaml in seconds; eight trials, so that parameters' importance can be told.
SMALL = """
name: {name}
data: {{name: fashion-mnist, normal_classes: [0, 1], train_per_class: 40, test_per_class: 20, image_size: 64}}
model: {{width: 16, layers: 1, heads: 2, feed_forward: 32, quantizer: {{prototypes: 8, start: data, decay: 0.9}}}}
loss: {{pot: 0}}
train: {{epochs: {epochs}, batch_size: 16, eval_every: 1, checkpoint_every: 1}}
eval: {{pot: 0}}
gang: {{ranks: 1}}
sweep:
  metric: auroc
  goal: maximize
  parameters: {{train.lr: [1.0e-4, 1.0e-3, 1.0e-2, 3.0e-2], model.dropout: [0.0, 0.2]}}
"""


class Coordinator:
    """One coordinator of its own folder, which launches a gang."""

    def __init__(self, folder):
        self.data = folder / "data"
        self.log = open(folder / "coordinator.log", "wb")
        environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
        self.process = subprocess.Popen(
            [BIN / "hivq-coordinator", "--data", folder / "data", "--listen", "tcp://127.0.0.1:0", "--local-gangs", "1"],
            stdout=self.log, stderr=self.log, env=environment)
        written = folder / "data" / "coordinator.json"
        self.url = until(lambda: written.exists() and json.loads(written.read_text())["http"], 60)

    def ask(self, path, body=None, type="application/yaml"):
        data = None if body is None else body.encode()
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data, {"Content-Type": type})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            raise AssertionError(refused.read().decode()) from None

    def run(self, *command):
        """A command of hivq against this coordinator."""
        subprocess.run([BIN / "hivq", *command, "--data", self.data], check=True, stdout=self.log, stderr=self.log, timeout=300)

    def submit(self, name, epochs=2):
        return self.ask(f"/jobs?user=ada&key={name}", SMALL.format(name=name, epochs=epochs))["job"]

    def state(self, job):
        return self.ask(f"/jobs/{job}")["state"]

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.close()


def until(look, seconds):
    """What `look` gives once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s")


@pytest.fixture(scope="session")
def coordinator(tmp_path_factory):
    running = Coordinator(tmp_path_factory.mktemp("hivq"))
    job = running.submit("small")
    until(lambda: running.state(job) == "finished", 300)
    yield running
    running.end()


@pytest.fixture(scope="session")
def chromium():
    """One for every test: Playwright runs once in a process."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ.get("HIVQ_CHROMIUM", "/usr/bin/chromium"),
                                             args=["--no-sandbox"])
        yield browser
        browser.close()
