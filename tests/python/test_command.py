"""`python -m hivq`."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import answers
import pytest
from hivq import __main__ as command
from stub import Answer, problem


@pytest.fixture
def job(stub, monkeypatch):
    stub.on("GET", "/jobs/3", answers.detail("finished"))
    stub.on("GET", "/jobs/3/trials", answers.trial_page([answers.row(0, variant="+ POT"), answers.row(1, variant="\x1b[2J")]))
    stub.on("GET", "/jobs/3/metrics", answers.curve_lines(0, 1))
    monkeypatch.setenv("HIVQ_URL", stub.url)


def test_results_are_a_table_of_what_says_something(job, capsys):
    assert command.main(["results", "3"]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["trial", "rank", "variant", "state", "train.lr", "auroc", "loss", "untrained", "step", "duration", "on_front"]
    assert first.split()[:4] == ["3/0", "1", "+", "POT"] and "\x1b" not in second
    assert head.index("auroc") + 5 == first.index("0.9") + 3, "numbers to the right"


def test_results_are_csv_and_json_in_full_precision(stub, job, capsys):
    assert command.main(["results", "3", "--csv", "--where", "auroc > 0.1", "--sort", "loss", "--limit", "1"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["trial"] == "3/0" and float(row["train.lr"]) == 0.01
    assert stub.requests[-1].query["where"] == ["auroc > 0.1"] and stub.requests[-1].query["sort"] == ["loss"]
    assert command.main(["results", "3", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["trial"] for row in rows] == ["3/0", "3/1"] and rows[0]["auroc"] == 0.9


def test_an_export_to_tensorboard_is_read_by_it(job, tmp_path, capsys):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert command.main(["export", "3", "--format", "tensorboard", "--out", str(tmp_path / "runs")]) == 0
    assert capsys.readouterr() == (f"{tmp_path / 'runs'}\n", "")
    events = accumulators.EventAccumulator(str(tmp_path / "runs" / "3-0"))
    events.Reload()
    assert [each.step for each in events.Scalars("loss")] == [1, 20, 40]


def test_an_export_to_mlflow_is_read_by_it(job, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = pytest.importorskip("mlflow")
    assert command.main(["export", "3", "--format", "mlflow", "--out", str(tmp_path / "mlruns")]) == 0
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    experiment = mlflow.get_experiment_by_name("search (hivq job 3)")
    runs = mlflow.search_runs([experiment.experiment_id], output_format="list")
    assert {run.info.run_name: run.data.metrics["auroc"] for run in runs} == {"3/0": 0.9, "3/1": pytest.approx(0.8)}


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_tables_are_results_and_metrics(job, tmp_path, capsys, format):
    if format == "parquet":
        pytest.importorskip("pyarrow")
        pytest.importorskip("pandas")
    assert command.main(["export", "3", "--format", format, "--out", str(tmp_path), "--where", "state = finished"]) == 0
    paths = [tmp_path / f"results.{format}", tmp_path / f"metrics.{format}"]
    assert capsys.readouterr().out.splitlines() == [str(path) for path in paths]
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_points_are_all_for_tables_and_a_thousand_for_viewers(stub, job, tmp_path):
    pytest.importorskip("pyarrow")
    for format, points in (("csv", "0"), ("tensorboard", "1000"), ("mlflow", "1000")):
        assert command.main(["export", "3", "--format", format, "--out", str(tmp_path)]) == 0
        assert stub.seen("GET", "/jobs/3/metrics")[-1].query["points"] == [points]
    assert command.main(["export", "3", "--format", "mlflow", "--points", "0", "--out", str(tmp_path)]) == 0
    assert stub.seen("GET", "/jobs/3/metrics")[-1].query["points"] == ["0"]


def test_progress_is_told_on_a_terminal_alone(job, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert command.main(["export", "3", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().err == "\rjob 3: 1 of 2 trials written\rjob 3: 2 of 2 trials written\n"


def test_a_job_that_still_runs_is_exported_with_a_word_on_that(stub, job, tmp_path, capsys):
    stub.on("GET", "/jobs/3", answers.detail("running"))
    assert command.main(["export", "3", "--out", str(tmp_path)]) == 0
    assert "job 3 'search' running: 1 of 3 trials finished, 2 running: export it again" in capsys.readouterr().err


def test_errors_are_a_sentence_with_code_1(stub, job, tmp_path, capsys, monkeypatch):
    stub.on("GET", "/jobs/9", problem(404, "there is no job 9; `hivq list` shows them"))
    assert command.main(["results", "9"]) == 1
    assert capsys.readouterr() == ("", "hivq: there is no job 9; `hivq list` shows them\n")
    (tmp_path / "file").write_text("")
    assert command.main(["export", "3", "--out", str(tmp_path / "file" / "below")]) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert command.main(["results", "3", "--url", "ftp://x"]) == 1
    assert "it must look like http://127.0.0.1:4488" in capsys.readouterr().err
    stub.on("GET", "/jobs/3/metrics", Answer(drop=True))
    assert command.main(["export", "3", "--out", str(tmp_path / "new")]) == 1
    assert "does not answer" in capsys.readouterr().err
    assert sorted(each.name for each in (tmp_path / "new").iterdir()) == ["results.csv"], "no half file"


@pytest.mark.parametrize("wrong", [[], ["results"], ["results", "x"], ["results", "0"], ["export", "3"], ["nothing"],
                                   ["export", "3", "--out", "d", "--format", "xls"], ["results", "3", "--csv", "--json"]])  # fmt: skip
def test_wrong_usage_is_code_2_with_a_remedy(wrong, capsys):
    assert command.main(wrong) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("hivq: ") and "--help` shows how" in err and len(err.splitlines()) == 1


def test_help_has_examples(capsys):
    for arguments in (["--help"], ["export", "--help"], ["results", "--help"]):
        assert command.main(arguments) == 0
        assert "python -m hivq export 3 --format tensorboard --out runs" in capsys.readouterr().out


def test_it_is_a_program_that_ends_with_its_reader_and_with_ctrl_c(stub, job, tmp_path):
    rows = [answers.row(index) for index in range(900)]
    stub.on("GET", "/jobs/3/trials", answers.trial_page(rows))
    base = [sys.executable, "-m", "hivq"]
    with subprocess.Popen([*base, "results", "3", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as piped:
        piped.stdout.readline()
        piped.stdout.close()
        assert piped.wait(30) == 141 and piped.stderr.read() == b""

    def slow():
        for _ in range(100):
            time.sleep(0.1)
            yield b""

    stub.on("GET", "/jobs/3/metrics", Answer(type="application/x-ndjson", stream=slow()))
    exporting = subprocess.Popen([*base, "export", "3", "--out", tmp_path], stderr=subprocess.PIPE, env=dict(os.environ))
    end = time.monotonic() + 30
    while not stub.seen("GET", "/jobs/3/metrics") and time.monotonic() < end:
        time.sleep(0.05)
    exporting.send_signal(signal.SIGINT)
    assert exporting.wait(30) == 130 and b"interrupted" in exporting.stderr.read()
    assert [each.name for each in tmp_path.iterdir()] == ["results.csv"]
