"""Studies against a real coordinator: no gang is needed."""

import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import hivq
import pytest
from hivq import study as studies
from test_real import BIN, Coordinator

pytestmark = pytest.mark.skipif(not (BIN / "hivq-coordinator").exists(), reason=f"no hivq in {BIN}")


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory):
    running = Coordinator(tmp_path_factory.mktemp("studies"), gangs=0)
    yield running
    running.end()


@pytest.fixture
def client(coordinator):
    return hivq.Client(coordinator.url, timeout=10)


def branin(trial):
    x, y = trial.suggest_float("x", -5, 10), trial.suggest_float("y", 0, 15)
    a = y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6
    return a * a + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.05)


def test_an_objective_is_optimised_by_what_it_asks_for(client):
    seen = []

    def objective(trial):
        x = trial.suggest_float("x", -5, 5)
        kind = trial.suggest_categorical("kind", ["linear", "square", None, 3, 0.5, True])
        lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
        layers = trial.suggest_int("layers", 1, 8)
        width = trial.suggest_int("width", 16, 1024, log=True)
        half = trial.suggest_float("half", 0, 2, step=0.5)
        odd = trial.suggest_int("odd", 1, 9, step=2)
        fixed = trial.suggest_float("fixed", 0.25, 0.25), trial.suggest_int("one", 1, 1)
        assert -5 <= x <= 5 and kind in ("linear", "square", None, 3, 0.5, True) and 1e-5 <= lr <= 1e-1
        assert isinstance(layers, int) and 1 <= layers <= 8 and isinstance(width, int) and 16 <= width <= 1024
        assert half in (0, 0.5, 1, 1.5, 2) and odd in (1, 3, 5, 7, 9) and fixed == (0.25, 1)
        assert trial.suggest_float("x", -5, 5) == x and trial.suggest_categorical("kind", ["linear", "square", None, 3, 0.5, True]) is kind
        seen.append((trial.id, x, kind))
        trial.report(x * x + 1, 1)
        trial.report({"loss": x * x, "size": layers}, 2)
        return {"loss": x * x, "seconds": 1.5}

    study = client.study("all-kinds", trials=12, metric="loss", seed=7).optimize(objective)
    assert study.state == "finished" and study.finished_trials == 12 and len(seen) == 12
    best = study.best_trial
    assert best.trained == min(x * x for _, x, _ in seen) == study.best_value and study.best_params["x"] == best.params["x"]
    assert best.final == {"loss": best.trained, "size": best.params["layers"], "seconds": 1.5}
    assert best.curves()["loss"].steps == [1, 2] and best.curves()["loss"].values[1] == best.trained
    assert set(best.params) == {"x", "kind", "lr", "layers", "width", "half", "odd", "fixed", "one"}
    assert "uniform: [-5, 5]" in study.yaml and "study:" in study.yaml
    assert "all-kinds" in study._repr_html_() and best.spec().differences["x"][1] == "{uniform: [-5, 5]}"
    assert study.ask() is None and study.optimize(objective).finished_trials == 12


def test_its_results_are_those_of_any_job(client):
    pytest.importorskip("pandas")
    study = client.study("tables", trials=20, search="random", seed=1).optimize(branin)
    results = study.results()
    assert len(results) == 20 and results["value"].is_monotonic_increasing and {"x", "y"} <= set(results.columns)
    assert study.importance().attrs["trials"] == 20
    table = client.query(f"SELECT id, x, y, value FROM trials_of_{study.id} ORDER BY value").to_pandas()
    assert table["value"][0] == study.best_value
    comparison = client.compare(study.trials(limit=2))
    assert set(comparison.settings) == {"x", "y"} and "value" in comparison.metrics
    assert study.explain() == f"job {study.id} has finished" and [each.id for each in client.jobs(name="tables")] == [study.id]


def test_tpe_beats_random_search(client):
    best = {}
    for search in ("random", "tpe"):
        values = [client.study(f"{search}-{seed}", trials=50, search=search, seed=seed).optimize(branin).best_value for seed in range(3)]
        best[search] = sum(math.log(value - 0.397) for value in values)
    assert best["tpe"] < best["random"]


def test_the_same_seed_is_the_same_study(client):
    runs = [client.study(f"seed-{i}", trials=25, seed=11).optimize(branin) for i in range(2)]
    params = [[each.params for each in run.trials(sort="trial")] for run in runs]
    assert params[0] == params[1]


def test_branches_have_parameters_of_their_own(client):
    def objective(trial):
        if trial.suggest_categorical("kind", ["a", "b"]) == "a":
            return abs(trial.suggest_float("of a", 0, 1) - 0.2)
        return 1 + abs(trial.suggest_float("of b", 0, 1) - 0.7)

    study = client.study("branches", trials=40, seed=3).optimize(objective)
    trials = study.trials()
    assert all(set(each.params) == {"kind", f"of {each.params['kind']}"} for each in trials)
    kinds = [each.params["kind"] for each in study.trials(sort="trial")]
    assert set(kinds) == {"a", "b"} and kinds[20:].count("a") > 12  # it has learned which branch is the better one
    assert study.best_value < 0.05


def test_a_study_is_found_by_its_name_and_has_the_settings_that_it_was_made_with(client):
    with pytest.raises(hivq.ApiError, match="there is no study 'by-name'") as missing:
        client.study("by-name")
    assert missing.value.status == 404
    study = client.study("by-name", trials=5, seed=1)
    assert client.study("by-name").id == study.id == client.study("by-name", trials=5, seed=1).id
    with pytest.raises(hivq.SpecError, match="job .* already, with other settings: study.trials is 5 there and 6 here"):
        client.study("by-name", trials=6, seed=1)
    with pytest.raises(hivq.SpecError, match='study.search is "tpee"; it must be'):
        client.study("wrong", trials=3, search="tpee")
    assert isinstance(study, hivq.Study) and study.explain() == (
        f"job {study.id} does not run: no client runs its trials; in Python: hivq.Client().study('by-name').optimize(objective)"
    )


def test_threads_share_a_study(client):
    at_once, most, lock = [0], [0], threading.Lock()

    def objective(trial):
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        time.sleep(0.05)
        value = branin(trial)
        with lock:
            at_once[0] -= 1
        return value

    study = client.study("threads", trials=24).optimize(objective, workers=4)
    assert study.finished_trials == 24 and most[0] == 4
    assert len({str(each.params) for each in study.trials()}) == 24


PROGRAM = """
import sys, time
import hivq
def objective(trial):
    x = trial.suggest_float("x", 0, 1)
    for epoch in range(1, 6):
        trial.report(x + 1 / epoch, epoch)
        time.sleep(float(sys.argv[3]))
    return x
hivq.Client(sys.argv[1]).study(sys.argv[2]).optimize(objective)
"""


def program(client, name, seconds):
    return subprocess.Popen([sys.executable, "-c", PROGRAM, client.url, name, str(seconds)], env={**os.environ, "PYTHONPATH": str(Path(hivq.__file__).parents[1])})


def test_processes_share_a_study(client):
    study = client.study("processes", trials=12)
    programs = [program(client, "processes", 0.01) for _ in range(2)]
    assert [each.wait(60) for each in programs] == [0, 0]
    assert study.refresh().state == "finished" and study.finished_trials == 12
    assert all(each.curves()["value"].steps == [1, 2, 3, 4, 5] for each in study.trials())


def test_a_coordinator_that_is_killed_is_waited_for_and_nothing_is_lost(coordinator, client):
    study = client.study("killed", trials=10, seed=5)
    reported = {}

    def objective(trial):
        x = trial.suggest_float("x", 0, 1)
        for epoch in range(1, 6):
            trial.report(x / epoch, epoch)
            reported[trial.id, epoch] = x / epoch
            time.sleep(0.1)
        return x

    def kill():
        until(lambda: len(reported) > 12)
        coordinator.end(signal.SIGKILL)
        time.sleep(2)
        coordinator.start()

    killing = threading.Thread(target=kill)
    killing.start()
    study.optimize(objective, workers=3)
    killing.join()
    assert study.state == "finished" and study.finished_trials == 10 and len(reported) == 50
    for trial in study.trials():
        curve = trial.curves(points=0)["value"]
        assert curve.values == [reported[trial.id, epoch] for epoch in curve.steps] and curve.steps == [1, 2, 3, 4, 5]
        assert trial.attempts == 1


def test_a_stopper_ends_trials_that_fall_behind(client):
    def objective(trial):
        x = trial.suggest_float("x", 0, 1)
        for epoch in range(1, 10):
            trial.report(x, epoch)
            if trial.should_stop():
                raise hivq.TrialStopped
        return x

    study = client.study("stopper", trials=30, search="random", stop={"by": "asha", "min_epochs": 2, "reduction": 3}, seed=1).optimize(objective)
    stopped = [each for each in study.trials() if each.reason.startswith("stopped early by asha at epoch")]
    assert 10 < len(stopped) < 30 and study.finished_trials == 30
    assert study.best_trial.id not in [each.id for each in stopped]
    assert all(each.final == {"value": each.params["x"]} and each.curves()["value"].steps[-1] < 9 for each in stopped)


def test_an_exception_fails_its_trial_and_is_raised(client):
    def objective(trial):
        if trial.index == 3:
            raise ValueError("no\nsuch thing")
        time.sleep(0.02)
        return trial.suggest_float("x", 0, 1)

    study = client.study("raises", trials=20)
    with pytest.raises(ValueError, match="such thing"):
        study.optimize(objective, workers=2)
    assert study.refresh().failed_trials == 1 and study.running_trials == 0 and study.finished_trials < 19
    assert client.trial(f"{study.id}/3").reason == "ValueError: no such thing"
    caught = client.study("caught", trials=6).optimize(lambda trial: 1 / (trial.index - 3), catch=ZeroDivisionError)
    assert caught.failed_trials == 1 and caught.finished_trials == 5


def test_what_an_objective_gives_must_be_the_metric(client):
    with pytest.raises(hivq.ApiError, match="cannot finish without value"):
        client.study("nothing", trials=3).optimize(lambda trial: None)
    with pytest.raises(hivq.Error, match="it must be a number"):
        client.study("text", trials=3).optimize(lambda trial: "x")
    study = client.study("nan", trials=2).optimize(lambda trial: math.nan if trial.index == 0 else 1)
    assert study.failed_trials == 1 and client.trial(f"{study.id}/0").reason == "its value is not finite"
    reports = client.study("reports", trials=1).optimize(lambda trial: trial.report(0.25, 1))
    assert reports.best_value == 0.25


def test_a_parameter_has_one_range(client):
    def objective(trial):
        return trial.suggest_float("x", 0, 1 + trial.index)

    study = client.study("ranges", trials=3)
    with pytest.raises(hivq.ApiError, match=r"asks for x in \{uniform: \[0, 2\]\}, but the study has it in \{uniform: \[0, 1\]\}"):
        study.optimize(objective)
    assert study.refresh().failed_trials == 1
    trial = study.ask()
    for wrong in (lambda: trial.suggest_float("y", 1, 0), lambda: trial.suggest_int("y", 0, 9, log=True), lambda: trial.suggest_categorical("y", []),
                  lambda: trial.suggest_float("y", 0, math.inf), lambda: trial.suggest_categorical("y", [[1]]), lambda: trial.report(1, -1)):
        with pytest.raises(hivq.Error):
            wrong()
    trial.report(1, 5)
    with pytest.raises(hivq.Error, match="steps must rise"):
        trial.report(1, 5)
    trial.end(state="failed", reason="enough")


def test_a_loop_of_ones_own(client):
    study = client.study("loop", trials=3, goal="maximize", metric="score")
    while (trial := study.ask()) is not None:
        assert trial.id in repr(trial) and "<table>" in trial._repr_html_()
        trial.end({"score": trial.suggest_int("n", 1, 100)})
        trial.end({"score": 0})  # again: the same
    assert study.refresh().state == "finished" and study.best_value == max(each.params["n"] for each in study.trials())


def test_a_program_that_dies_loses_its_trial(client, monkeypatch):
    study = client.study("dies", trials=2)
    dying = program(client, "dies", 60)
    until(lambda: study.refresh().running_trials == 1)
    dying.kill()
    dying.wait()
    monkeypatch.setattr(studies, "KEEP_ALIVE", 5.0)
    held = study.ask()
    until(lambda: study.refresh().failed_trials == 1, 100)
    assert client.trial(f"{study.id}/0").reason == "its client was silent for 60 s"
    assert study.running_trials == 1  # the other one is kept alive, though it says nothing
    held.end(1.0)


def test_a_paused_study_waits_and_a_cancelled_one_ends(client):
    study = client.study("paused", trials=50)
    begun = threading.Event()

    def objective(trial):
        begun.set()
        for epoch in range(1, 1000):
            trial.report(1, epoch)
            if trial.should_stop():
                raise hivq.TrialStopped
            if trial.index < 3:
                return 1
            time.sleep(0.02)

    study.pause()
    assert study.ask(timeout=0.3) is None
    running = threading.Thread(target=study.optimize, args=(objective,), kwargs={"workers": 2}, daemon=True)
    running.start()
    time.sleep(0.5)
    assert not begun.is_set() and study.refresh().state == "paused"
    client.job(study.id).resume()
    assert begun.wait(20)
    until(lambda: client.job(study.id).finished_trials == 3 and client.job(study.id).running_trials == 2)
    client.job(study.id).cancel()
    running.join(20)
    assert not running.is_alive()
    ended = client.study("paused")
    assert ended.state == "cancelled" and ended.cancelled_trials == 2 and ended.trial_count == 5


def test_ctrl_c_fails_what_runs_and_returns(client, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent("""
        import sys, time
        import hivq
        def objective(trial):
            trial.suggest_float("x", 0, 1)
            time.sleep(600)
        hivq.Client(sys.argv[1]).study(sys.argv[2], trials=9).optimize(objective, workers=int(sys.argv[3]))
        print("went on")
    """))
    for workers in (1, 3):
        name = f"interrupted-{workers}"
        run = subprocess.Popen([sys.executable, script, client.url, name, str(workers)], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": str(Path(hivq.__file__).parents[1])})
        study = client.study(name, trials=9)
        until(lambda: len([each for each in study.trials() if each.params]) == workers)
        run.send_signal(signal.SIGINT)
        assert run.communicate(timeout=30)[0] == "went on\n"
        assert study.refresh().failed_trials == workers and study.running_trials == 0
        assert {each.reason for each in study.trials()} == {"interrupted by its user"}


def test_several_metrics(client):
    def objective(trial):
        x = trial.suggest_float("x", 0, 2)
        return {"a": x * x, "b": (x - 2) ** 2}

    metrics = [{"name": "a", "goal": "minimize"}, {"name": "b", "goal": "minimize"}]
    study = client.study("front", trials=24, search="nsga2", metrics=metrics, population=8, seed=1).optimize(objective, workers=3)
    assert study.finished_trials == 24 and sum(bool(each.on_front) for each in study.trials()) > 3


def test_a_file_of_ones_own_is_a_study_too(client, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("name: from-file\nstudy:\n  search: grid\n  metric: loss\n  goal: minimize\n  parameters:\n    x: [1, 2, 3]\n    y: {integer: [0, 1]}\n")
    job = client.submit(file)
    study = client.study("from-file")
    assert study.id == job.id and study.trial_count == 6
    study.optimize(lambda trial: trial.suggest_categorical("x", [1, 2, 3]) - trial.suggest_int("y", 0, 1))
    assert study.state == "finished" and study.best_value == 0
    assert sorted((each.params["x"], each.params["y"]) for each in study.trials()) == [(x, y) for x in (1, 2, 3) for y in (0, 1)]
    assert client.validate(file).estimate.trials == 6
