import json
import subprocess
import sys

import answers
import hivq
import pytest
from hivq.answers import value_of
from stub import problem

MISTAKE = (12, "train.batch_size is 0; it must be at least 1")


def test_mistakes_are_told_with_file_and_line(stub, client, tmp_path):
    file = tmp_path / "quick.yaml"
    file.write_text("train: {batch_size: 0}\n")
    stub.on("POST", "/jobs", problem(422, "a mistake", [MISTAKE, (0, "sweep.trials is missing")]))
    with pytest.raises(hivq.SpecError) as caught:
        client.submit(file)
    assert str(caught.value) == f"{file}:12: {MISTAKE[1]}\n{file}: sweep.trials is missing"
    assert caught.value.mistakes[0] == hivq.Mistake(*MISTAKE) and caught.value.status == 422
    assert stub.requests[0].query["file"] == [str(file)] and stub.requests[0].body == file.read_bytes()


def test_mistakes_of_a_dict_are_told_without_lines(stub, client):
    stub.on("POST", "/jobs", problem(400, "a mistake", [MISTAKE]))
    with pytest.raises(hivq.SpecError) as caught:
        client.submit({"train": {"batch_size": 0}})
    assert str(caught.value) == MISTAKE[1]


def test_a_refusal_that_is_no_mistake_is_told_as_it_is(stub, client):
    stub.on("POST", "/jobs", problem(403, "project hvq has used up its quota"))
    with pytest.raises(hivq.ApiError, match="^project hvq has used up its quota$") as caught:
        client.submit({})
    assert not isinstance(caught.value, hivq.SpecError)


def test_a_dict_goes_as_json_with_numbers_as_they_are(stub, client, tmp_path):
    stub.on("POST", "/jobs", {"job": 3})
    stub.on("GET", "/jobs/3", answers.detail())
    client.submit({"name": "größer", "train": {"lr": 1e-05, "start_from": tmp_path}})
    body = stub.requests[0].body.decode()
    assert json.loads(body) == {"name": "größer", "train": {"lr": 1e-05, "start_from": str(tmp_path)}} and "größer" in body
    with pytest.raises(hivq.Error, match="cannot be written as JSON"):
        client.submit({"train": {"lr": float("nan")}})
    with pytest.raises(hivq.Error, match="a object is neither"):
        client.submit({"train": {"lr": object()}})


def test_a_specification_is_a_path_or_text(stub, client, tmp_path):
    stub.on("POST", "/validate", {"valid": True, "mistakes": [], "yaml": "name: a\n", "estimate": None})
    file = tmp_path / "a.yaml"
    file.write_text("name: a\n")
    for spec in (file, str(file), "name: a\n"):
        assert client.validate(spec)
        assert stub.requests[-1].body == b"name: a\n"
    with pytest.raises(hivq.Error, match="'missing.yaml' cannot be read: No such file"):
        client.validate("missing.yaml")


def test_validate_tells_mistakes_or_what_a_job_takes(stub, client):
    stub.on("POST", "/validate", {"valid": False, "mistakes": [{"line": 12, "message": MISTAKE[1]}], "yaml": "", "estimate": None})
    found = client.validate("train: {}\n", file="quick.yaml")
    assert not found and str(found) == f"quick.yaml:12: {MISTAKE[1]}"
    estimate = {"trials": 24, "rank_hours": 0.5, "similar_trials": 4, "checkpoint_bytes": None, "note": "24 trials"}
    stub.on("POST", "/validate", {"valid": True, "mistakes": [], "yaml": "name: a\n", "estimate": estimate})
    assert client.validate("name: a\n").estimate == hivq.Estimate(24, 0.5, 4, None, "24 trials")


def test_jobs_come_from_all_pages_and_each_once(stub, client, monkeypatch):
    monkeypatch.setattr("hivq.paging.MOST_A_PAGE", 2)

    def page(request):
        # A job is submitted between the first page and the second.
        after = request.query.get("after")
        numbers = [5, 4, 3, 2, 1] if after is None else [each for each in (6, 5, 4, 3, 2, 1) if each < int(after[0])]
        return {"jobs": [answers.job(job=each) for each in numbers[: int(request.query["limit"][0])]], "total": len(numbers)}

    stub.on("GET", "/jobs", page)
    assert [job.id for job in client.jobs(state="running")] == [5, 4, 3, 2, 1]
    assert all(each.query["state"] == ["running"] for each in stub.requests) and len(stub.requests) == 3
    assert [job.id for job in client.jobs(limit=3)] == [5, 4, 3]


def test_pages_are_asked_for_as_they_are_read(stub, client, monkeypatch):
    monkeypatch.setattr("hivq.paging.MOST_A_PAGE", 1)
    stub.on("GET", "/jobs", {"jobs": [answers.job()], "total": 1000})
    next(client.jobs())
    assert len(stub.requests) == 1


def test_a_query_becomes_a_data_frame(stub, client):
    pandas = pytest.importorskip("pandas")
    stub.on("POST", "/query", {"columns": ["id", "auroc"], "rows": [["3/0", 0.9], ["3/1", None]], "complete": True})
    table = client.query("SELECT id, auroc FROM trials_of_3")
    assert list(table) == [{"id": "3/0", "auroc": 0.9}, {"id": "3/1", "auroc": None}] and len(table) == 2
    assert list(table.to_pandas().columns) == ["id", "auroc"] and pandas.isna(table.to_pandas()["auroc"][1])
    stub.on("POST", "/query", {"columns": ["id"], "rows": [], "complete": True})
    assert client.query("SELECT id FROM jobs").to_pandas().shape == (0, 1)


def test_trials_are_compared(stub, client):
    line = {"name": "train.lr", "values": ["0.01", "0.001"]}
    answer = {"trials": ["3/0", "3/1"], "facts": [{"name": "state", "values": ["finished", "running"]}], "settings": [line],
              "metrics": [{"name": "auroc", "values": [0.9, None]}]}  # fmt: skip
    stub.on("GET", "/compare", answer)
    found = client.compare(["3/0", "3/1"])
    assert stub.requests[0].query["trial"] == ["3/0", "3/1"]
    assert found.settings == {"train.lr": ["0.01", "0.001"]} and found.metrics["auroc"][0] == 0.9
    if "pandas" in sys.modules:
        assert found.to_pandas().loc["3/1", "train.lr"] == 0.001


def test_gangs_are_read_even_from_a_newer_coordinator(stub, client):
    gang = {"gang": "a1", "host": "node7", "devices": "2 CPU", "ranks": 2, "phase": "training", "connected": True, "drained": False,
            "labels": {"pool": "a100"}, "trials": ["3/0"], "launched_by_coordinator": False, "temperature": 60}  # fmt: skip
    stub.on("GET", "/gangs", {"gangs": [gang]})
    assert client.gangs()[0].labels == {"pool": "a100"}
    stub.on("POST", "/drain", {"target": "host:node7", "drained": True, "gangs": 1, "running": 1})
    assert client.drain("host:node7")["gangs"] == 1


def test_what_is_no_trial_is_refused_before_it_is_asked_for(stub, client):
    for name in ("3", "3/0/../..", "3/-1", "../jobs", "3/0\n"):
        with pytest.raises(hivq.Error, match="such as 3/0"):
            client.trial(name)
    assert stub.requests == []


@pytest.mark.parametrize(
    "text, value",
    [("true", True), ("12", 12), ("-3", -3), ("1e-05", 1e-05), ("0.5", 0.5), ("max", "max"), ("[0, 1]", "[0, 1]"), ("", ""),
     ("1_000", "1_000"), ("nan", "nan"), ("5-3", "5-3"), ("e5", "e5"), ("1" * 30, float("1" * 30))],
)  # fmt: skip
def test_parameters_have_their_types(text, value):
    assert value_of(text) == value and type(value_of(text)) is type(value)


def test_the_core_needs_nothing_beyond_the_standard_library():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import hivq;"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'pandas', 'numpy', 'torch', 'safetensors', 'pyarrow'}))"
        "\ntry: hivq.Table(['a'], [[1]], True).to_pandas()\nexcept hivq.Error as error: print(error)"
    )
    source = str(__import__("pathlib").Path(hivq.__file__).parents[1])
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", code, source], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["[]", "a DataFrame needs pandas, which is not installed: pip install pandas"]
