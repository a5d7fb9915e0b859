import csv
import io
import json
import time

import answers
import hivq
import pytest
from hivq.events import Event, parse
from stub import Answer, problem


@pytest.fixture
def job(stub, client):
    stub.on("GET", "/jobs/3", answers.detail())
    return client.job(3)


def stream(*pieces):
    return Answer(type="text/event-stream", stream=pieces)


def test_events_are_read_as_the_standard_has_them():
    text = b": heartbeat\n\nid: 7\nevent: changed\ndata: one\ndata:two\n\nretry: 5\ndata\n\r\nevent: ended\r\nid\r\ndata: x\r\n\r\ndata: cut"
    assert list(parse(io.BytesIO(text))) == [Event("changed", "one\ntwo", "7"), Event("message", "", "7"), Event("ended", "x", "")]


def test_wait_follows_the_events_to_the_last(stub, job):
    finished = ("changed", answers.job("finished"))
    stub.on("GET", "/jobs/3/events", stream(b": hello\n\n", *answers.events(("changed", answers.job()), finished)))
    assert job.wait(progress=False) is job
    assert job.state == "finished" and job.ended.timestamp() == 1_700_000_090 and job.finished_trials == 3
    assert len(stub.seen("GET", "/jobs/3/events")) == 1
    assert stub.seen("GET", "/jobs/3/events")[0].headers["accept"] == "text/event-stream"
    assert job.yaml == "name: search\n"  # of an earlier answer; events come without


def test_wait_goes_on_after_a_break_from_the_last_event(stub, job):
    first = answers.events(("changed", answers.job()), ("changed", answers.job(finished=2)), first=41)
    cut = b"id: 43\nevent: changed\ndata: {"
    second = answers.events(("ended", answers.job("finished")), first=44)
    stub.on("GET", "/jobs/3/events", stream(*first, cut), Answer(drop=True), problem(503, "starting"), stream(*second))
    assert job.wait(progress=False).state == "finished"
    seen = stub.seen("GET", "/jobs/3/events")
    assert [each.headers.get("last-event-id") for each in seen] == [None, "42", "42", "42"]


def test_wait_sees_in_a_question_what_the_stream_did_not_say(stub, job):
    stub.on("GET", "/jobs/3/events", stream())
    stub.on("GET", "/jobs/3", answers.detail(), answers.detail(), answers.detail("failed", reason="no gang fits"))
    assert job.wait(progress=False).state == "failed" and job.reason == "no gang fits"


@pytest.mark.parametrize("answer", [problem(404, "no events"), Answer(200, b"<html>", "text/html")])
def test_wait_asks_at_intervals_where_there_is_no_stream(stub, job, answer):
    stub.on("GET", "/jobs/3/events", answer)
    stub.on("GET", "/jobs/3", answers.detail(), answers.detail(), answers.detail("paused"), answers.detail("finished"))
    assert job.wait(progress=False).state == "finished"
    assert len(stub.seen("GET", "/jobs/3/events")) == 1


def test_wait_ends_at_its_timeout_though_heartbeats_come(stub, job):
    def heartbeats():
        for _ in range(100):
            time.sleep(0.02)
            yield b": heartbeat\n"

    stub.on("GET", "/jobs/3/events", lambda _: Answer(type="text/event-stream", stream=heartbeats()))
    began = time.monotonic()
    with pytest.raises(hivq.TimedOut, match="after 0.2 s job 3 'search' running: 1 of 3 trials finished, 2 running"):
        job.wait(timeout=0.2, progress=False)
    assert time.monotonic() - began < 1.5
    assert issubclass(hivq.TimedOut, TimeoutError)


def test_wait_of_no_time_just_looks(stub, job):
    stub.on("GET", "/jobs/3", answers.detail("finished"))
    assert job.wait(timeout=0).state == "finished"
    stub.on("GET", "/jobs/3", answers.detail("paused"))
    with pytest.raises(hivq.TimedOut):
        job.wait(timeout=0)


def test_wait_of_a_job_that_is_not_there_says_so(stub, job):
    stub.on("GET", "/jobs/3", problem(404, "there is no job 3"))
    with pytest.raises(hivq.ApiError, match="there is no job 3"):
        job.wait()


def test_progress_is_a_line_on_a_terminal_and_nothing_in_a_pipe(stub, job, capsys, monkeypatch):
    stub.on("GET", "/jobs/3/events", stream(*answers.events(("ended", answers.job("finished", name="a\x1b[2Jb")))))
    job.wait()
    assert capsys.readouterr() == ("", "")
    stub.on("GET", "/jobs/3", answers.detail())
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    job.wait()
    line = capsys.readouterr().err
    assert line.startswith("\rjob 3 'search' running: 1 of 3") and line.endswith("\n") and "\x1b" not in line


def test_progress_is_a_cell_in_a_notebook(stub, job, monkeypatch):
    import sys
    import types

    drawn = []

    class Handle:
        def update(self, what):
            drawn.append(("again", what.state))

    def display(what, display_id):
        drawn.append(("first", what.state))
        return Handle()

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    stub.on("GET", "/jobs/3/events", stream(*answers.events(("ended", answers.job("finished")))))
    job.wait()
    assert drawn == [("first", "running"), ("again", "finished")]


def test_trials_come_from_all_pages_with_conditions(stub, job, monkeypatch):
    monkeypatch.setattr("hivq.paging.MOST_A_PAGE", 2)
    rows = [answers.row(index) for index in range(3)]
    stub.on("GET", "/jobs/3/trials", lambda r: answers.trial_page(rows[int(r.query["offset"][0]) :][:2], 3))
    trials = job.trials(where=["train.lr < 0.1", "auroc > 0.5"], sort="auroc", reverse=True)
    assert [each.id for each in trials] == ["3/0", "3/1", "3/2"]
    assert stub.requests[-1].query["where"] == ["train.lr < 0.1", "auroc > 0.5"]
    assert stub.requests[-1].query["sort"] == ["auroc"] and stub.requests[-1].query["reverse"] == ["true"]
    first = trials[0]
    assert first.rank == 1 and first.params == {"train.lr": 0.01, "eval.score": "max", "model.dropout": 0}
    assert first.duration == 40 and first.final["auroc/brick"] != first.final["auroc/brick"]  # NaN


def test_a_trial_whose_rank_changes_between_pages_is_not_missed(stub, job, monkeypatch):
    """Pages go by number, which stays; the ranks are put in order here."""
    monkeypatch.setattr("hivq.paging.MOST_A_PAGE", 2)
    first = [answers.row(0, rank=1), answers.row(1, rank=None), answers.row(2, rank=2)]
    then = [answers.row(0, rank=2), answers.row(1, rank=None), answers.row(2, rank=1)]  # 3/2 has overtaken 3/0

    def page(request):
        assert request.query["sort"] == ["trial"] and "offset" not in request.query
        after = request.query.get("after")
        return answers.trial_page(first[:2] if after is None else [row for row in then if int(row["trial"][2:]) > int(after[0])])

    stub.on("GET", "/jobs/3/trials", page)
    assert [each.id for each in job.trials()] == ["3/0", "3/2", "3/1"]
    assert [each.id for each in job.trials(reverse=True)] == ["3/0", "3/2", "3/1"]


def test_best_is_the_first_by_rank(stub, job):
    stub.on("GET", "/jobs/3/trials", answers.trial_page([answers.row(0)], 3))
    assert job.best().trained == 0.9
    assert stub.requests[-1].query["limit"] == ["1"]
    stub.on("GET", "/jobs/3/trials", answers.trial_page([answers.row(0, rank=None, trained=None)], 3))
    with pytest.raises(hivq.Error, match="no trial of job 3 has auroc yet; it is running"):
        job.best()


def test_results_are_a_data_frame(stub, job):
    pytest.importorskip("pandas")
    rows = [answers.row(0), answers.row(1), answers.row(2, state="running", rank=None, trained=None, final={}, untrained=None)]
    stub.on("GET", "/jobs/3/trials", {**answers.trial_page(rows), "metrics": ["auroc", "loss", "step"]})
    results = job.results()
    assert list(results.index) == ["3/0", "3/1", "3/2"]
    assert list(results.columns) == ["rank", "variant", "state", "train.lr", "auroc", "loss", "metrics.step", "untrained", "step",
                                     "duration", "feasible", "on_front", "reason"]  # fmt: skip
    assert results.loc["3/1", "train.lr"] == 0.001 and results.loc["3/0", "loss"] == 17.5
    assert results["auroc"].isna().tolist() == [False, False, True]


def test_curves_have_a_row_for_each_point(stub, job):
    pytest.importorskip("pandas")
    curve = {"steps": [1, 2], "values": [0.5, None]}
    stub.on("GET", "/jobs/3/curves", {"metric": "loss", "curves": {"3/0": curve, "3/1": curve}})
    curves = job.curves("loss", trials=[0, 1], points=10)
    assert curves.shape == (4, 3) and curves["trial"].tolist() == ["3/0", "3/0", "3/1", "3/1"]
    assert stub.requests[-1].query == {"metric": ["loss"], "trial": ["0", "1"], "points": ["10"]}
    job.curves("loss")
    assert "trial" not in stub.requests[-1].query
    job.curves("loss", trials=range(1200))
    assert [len(each.query["trial"]) for each in stub.requests[-3:]] == [500, 500, 200]
    assert job.curves("loss", trials=[]).shape == (0, 3)


def test_importance_is_a_data_frame(stub, job):
    pytest.importorskip("pandas")
    share = {"parameter": "train.lr", "with": "", "share": 0.7, "deviation": 0.1}
    stub.on("GET", "/jobs/3/importance", {"metric": "auroc", "shares": [share], "explained": 0.9, "trials": 24})
    found = job.importance()
    assert found.loc[0, "share"] == 0.7 and found.attrs == {"metric": "auroc", "explained": 0.9, "trials": 24}


def test_a_job_is_steered(stub, job):
    paused = {"job": 3, "paused": True, "running": 1, "waiting": 0}
    stub.on("POST", "/jobs/3/pause", paused)
    stub.on("POST", "/jobs/3/resume", {**paused, "paused": False})
    stub.on("POST", "/jobs/3/cancel", {"job": 3, "cancelled_trials": 2})
    stub.on("GET", "/jobs/3/explain", {"job": 3, "explanation": "it runs"})
    assert job.pause().resume().cancel() == 2 and job.explain() == "it runs"


def test_what_a_notebook_shows_holds_no_foreign_markup(stub, client):
    evil = "<script>alert(1)</script>"
    stub.on("GET", "/jobs/3", answers.detail(name=evil, reason=evil))
    stub.on("GET", "/trials/3/0", answers.row(0, variant=evil, params={evil: evil}, final={evil: 1.0}, reason=evil))
    shown = [client.job(3), client.trial("3/0"), hivq.Table([evil], [[evil]], True), hivq.Comparison([evil], {evil: [evil]}, {}, {})]
    for each in shown:
        text = each._repr_html_()
        assert "<script" not in text and "&lt;script" in text


def test_results_are_written_as_csv_without_pandas(stub, job, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    stub.on("GET", "/jobs/3/trials", answers.trial_page([answers.row(0, variant='a "quoted", name'), answers.row(1)]))
    job.to_csv(tmp_path / "new" / "results.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "new" / "results.csv").read_text())))
    assert rows[0]["variant"] == 'a "quoted", name' and float(rows[1]["train.lr"]) == 0.001
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["results.csv"]


def test_results_are_written_as_parquet(stub, job, tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    mixed = {"train.lr": "never"}
    stub.on("GET", "/jobs/3/trials", answers.trial_page([answers.row(0), answers.row(1, params=mixed), answers.row(2, params={})]))
    job.to_parquet(tmp_path / "results.parquet")
    read = pandas.read_parquet(tmp_path / "results.parquet")
    assert read.loc["3/0", "train.lr"] == "0.01" and read.loc["3/1", "train.lr"] == "never" and read.loc["3/0", "auroc"] == 0.9


def test_a_file_that_cannot_be_finished_leaves_the_old_one(stub, job, tmp_path):
    file = tmp_path / "results.csv"
    file.write_text("old")
    stub.on("GET", "/jobs/3/trials", problem(500, "the store is broken"))
    with pytest.raises(hivq.ApiError):
        job.to_csv(file)
    assert file.read_text() == "old" and json.dumps([each.name for each in tmp_path.iterdir()]) == '["results.csv"]'
