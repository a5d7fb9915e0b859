"""What the chart's tests share: Helm and kubeconform of the lab, and the cluster itself."""

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest
import yaml

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
CHART = ROOT / "helm"
LAB = pathlib.Path(os.environ.get("HIVQ_LAB", pathlib.Path.home() / ".cache/hivq-lab"))
BIN = pathlib.Path(os.environ.get("HIVQ_BIN_DIR", ROOT / "build/release/bin"))


def run(*command, check=True, input=None, timeout=600, env=None):
    """What a command prints; where it fails, what it says is the failure."""
    done = subprocess.run([str(part) for part in command], input=input, capture_output=True, text=True, timeout=timeout, env=env)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout if check else done


def until(look, seconds, what):
    """What `look` gives once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.5)
    raise AssertionError(f"not within {seconds} s: {what}")


@pytest.fixture(scope="session")
def tools():
    run(HERE / "lab", "tools", timeout=1800)
    os.environ["PATH"] = f"{LAB / 'bin'}:{os.environ['PATH']}"


@pytest.fixture(scope="session")
def schemas(tools):
    run(sys.executable, HERE / "schemas.py", LAB / "schemas", timeout=1800)
    return LAB / "schemas"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """With a failure on the cluster comes what the cluster says, before it is gone."""
    report = (yield).get_result()
    if report.failed and "cluster" in item.fixturenames and "KUBECONFIG" in os.environ:
        questions = {"objects": ["get", "pods,mpijobs,jobs"], "the coordinator": ["logs", "statefulset/hivq", "--tail=60"],
                     "launchers": ["logs", "-l", "training.kubeflow.org/job-role=launcher", "--tail=30", "--prefix"],
                     "events": ["events", "--types=Warning"]}
        for name, question in questions.items():
            said = run("kubectl", "-n", "science", *question, check=False, timeout=60)
            report.sections.append((name, (said.stdout + said.stderr)[-6000:]))
