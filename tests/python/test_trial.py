import os

import answers
import hivq
import pytest
from stub import Answer, problem

WHOLE = answers.safetensors(codebook=[1.0, 2.5], head=[3.0])
FILE = "/trials/3/0/checkpoints/40"


@pytest.fixture
def trial(stub, client):
    stub.on("GET", "/trials/3/0", answers.row(0))
    return client.trial("3/0")


def binary(body, **changes):
    return Answer(200, body, "application/octet-stream", **changes)


def test_metrics_have_a_row_for_each_point(stub, trial):
    pytest.importorskip("pandas")
    stub.on("GET", "/trials/3/0/metrics", answers.curves())
    metrics = trial.metrics(prefix="a&b", points=0)
    assert metrics["metric"].tolist() == ["loss"] * 3 + ["auroc"] * 2 + ["auroc/brick"] and metrics["value"].isna().sum() == 1
    assert stub.requests[-1].query == {"prefix": ["a&b"], "points": ["0"]}
    assert trial.curves()["auroc"] == hivq.Curve([0, 40], [0.5, 0.9])


def test_logs_come_to_their_end(stub, trial):
    lines = [{"time": 1_700_000_000_000, "text": "epoch 1"}, {"time": None, "text": "epoch 2"}, {"time": None, "text": "epoch 3"}]
    stub.on("GET", "/trials/3/0/logs", lambda r: {"lines": lines[int(r.query["after"][0]) :][:2]})
    assert [str(line) for line in trial.logs()] == ["epoch 1", "epoch 2", "epoch 3"]


def test_logs_are_followed_to_the_trials_end_with_what_came_last(stub, trial):
    line = {"time": None, "text": "epoch"}
    stub.on("GET", "/trials/3/0", answers.row(0, state="running", ended=None), answers.row(0))
    stub.on("GET", "/trials/3/0/logs", {"lines": [line]}, {"lines": []}, {"lines": []}, {"lines": [line, line]}, {"lines": []})
    assert len(list(trial.logs(follow=True, interval=0))) == 3


def test_a_checkpoint_is_downloaded(stub, trial, tmp_path, monkeypatch):
    stub.on("GET", FILE, binary(WHOLE))
    monkeypatch.chdir(tmp_path)
    file = trial.checkpoint()
    assert os.fspath(file) == "hivq-3-0-step-40.safetensors" and file.step == 40 and file.path.read_bytes() == WHOLE
    assert trial.checkpoint(40, tmp_path / "new" / "model").path.read_bytes() == WHOLE
    assert sorted(each.name for each in tmp_path.iterdir()) == ["hivq-3-0-step-40.safetensors", "new"]


def test_a_download_that_breaks_begins_again_and_leaves_nothing_half(stub, trial, tmp_path):
    whole = [binary(WHOLE[:20], length=len(WHOLE)), binary(b"", stream=[WHOLE[:-4]]), Answer(drop=True), problem(503, "starting")]
    stub.on("GET", FILE, *whole, binary(WHOLE))
    assert trial.checkpoint(path=tmp_path).path.read_bytes() == WHOLE
    assert len(stub.seen("GET", FILE)) == 5 and len(list(tmp_path.iterdir())) == 1


def test_a_download_that_breaks_goes_on_with_what_is_missing(stub, trial, tmp_path):
    tag = {"ETag": '"a"'}

    def part(begin, length=None):
        return Answer(206, WHOLE[begin:][:length], "application/octet-stream", {**tag, "Content-Range": "x"}, length=len(WHOLE) - begin)

    stub.on("GET", FILE, binary(WHOLE[:20], length=len(WHOLE), headers=tag), part(20, 10), Answer(drop=True), part(30))
    assert trial.checkpoint(path=tmp_path).path.read_bytes() == WHOLE
    asked = [(each.headers.get("range"), each.headers.get("if-range")) for each in stub.seen("GET", FILE)]
    assert asked == [(None, None), ("bytes=20-", '"a"'), ("bytes=30-", '"a"'), ("bytes=30-", '"a"')]


def test_another_checkpoint_than_the_one_that_broke_off_is_fetched_from_its_beginning(stub, trial, tmp_path):
    other = answers.safetensors(codebook=[9.0, 2.5], head=[3.0])
    stub.on("GET", FILE, binary(WHOLE[:20], length=len(WHOLE), headers={"ETag": '"a"'}), binary(other, headers={"ETag": '"b"'}))
    assert trial.checkpoint(path=tmp_path).path.read_bytes() == other


def test_a_download_that_always_breaks_leaves_the_old_file(stub, trial, tmp_path):
    old = tmp_path / "model"
    old.write_bytes(b"old")
    stub.on("GET", FILE, binary(WHOLE[:20], length=len(WHOLE)))
    with pytest.raises(hivq.Unreachable, match="bytes before the end"):
        trial.checkpoint(path=old)
    assert old.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_a_checkpoint_that_was_replaced_meanwhile_is_fetched_as_the_newer_one(stub, trial, tmp_path):
    stub.on("GET", "/trials/3/0", answers.row(0), answers.row(0, checkpoint_step=80))
    stub.on("GET", FILE, problem(404, "there is no checkpoint of step 40"))
    stub.on("GET", "/trials/3/0/checkpoints/80", binary(WHOLE))
    assert trial.checkpoint(path=tmp_path).step == 80
    with pytest.raises(hivq.ApiError, match="no checkpoint of step 40"):
        trial.checkpoint(40, tmp_path)


def test_a_trial_without_checkpoints_says_so(stub, trial):
    stub.on("GET", "/trials/3/0", answers.row(0, state="waiting", checkpoint_step=-1, checkpoints=[]))
    with pytest.raises(hivq.Error, match="trial 3/0 is waiting and has no checkpoint"):
        trial.checkpoint()


def test_a_full_disk_is_not_taken_for_a_broken_connection(stub, trial, tmp_path):
    stub.on("GET", FILE, binary(WHOLE))
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        trial.checkpoint(40, tmp_path / "file" / "model")
    assert stub.seen("GET", FILE) == [], "it shows before anything is fetched"


def test_tensors_are_read(stub, trial, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    stub.on("GET", FILE, binary(WHOLE))
    tensors = trial.checkpoint(path=tmp_path).tensors()
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {"codebook": [1.0, 2.5], "head": [3.0]}


def test_a_checkpoint_is_pinned(stub, trial):
    stub.on("POST", "/trials/3/0/checkpoints/latest/pin", {"step": 40, "pinned": True})
    stub.on("POST", FILE + "/unpin", {"step": 40, "pinned": False})
    assert trial.pin() == 40 and trial.unpin(40) == 40
    with pytest.raises(ValueError):
        trial.pin("../../drain")


def test_a_trials_specification_tells_its_differences(stub, trial):
    stub.on("GET", "/trials/3/0/spec", {"yaml": "a: 1\n", "differences": [{"key": "train.lr", "value": "0.01", "default": "0.001"}]})
    assert trial.spec().differences == {"train.lr": ("0.01", "0.001")}


def test_pictures_give_their_pngs(stub, trial):
    one = {
        "number": 1, "step": 40, "name": "test/crack/001.png", "class": "brick", "anomalous": True, "score": 2.5, "map_low": 0.5,
        "map_high": 4.0, "width": 64, "height": 64, "image": "/i", "truth": None, "map": "/m",
    }  # fmt: skip
    stub.on("GET", "/trials/3/0/pictures", {"trial": "3/0", "pictures": [one, {**one, "number": 2, "truth": "/t"}], "figures": []})
    stub.on("GET", "/trials/3/0/pictures/1/image.png", Answer(drop=True), Answer(200, b"an image", "image/png"))
    stub.on("GET", "/trials/3/0/pictures/2/truth.png", Answer(200, b"a mask", "image/png"))
    stub.on("GET", "/trials/3/0/pictures/2/map.png", problem(404, "there is no picture 2"))
    first, second = trial.pictures()
    assert (first.class_name, first.anomalous, first.score, first.has_truth) == ("brick", True, 2.5, False)
    assert first.image() == b"an image" and first.truth() is None and second.truth() == b"a mask"
    with pytest.raises(hivq.ApiError, match="there is no picture 2"):
        second.map()
