import math
import os
import time

import answers
import hivq
import pytest
from stub import Answer, problem
from hivq.tensorboard import masked_crc32c, single, varint


@pytest.fixture
def job(stub, client):
    stub.on("GET", "/jobs/3", answers.detail("finished"))
    rows = [answers.row(0), answers.row(1, state="failed", reason="the loss is not finite")]
    stub.on("GET", "/jobs/3/trials", answers.trial_page(rows))
    stub.on("GET", "/jobs/3/metrics", answers.curve_lines(0, 1))
    return client.job(3)


def test_checksums_are_castagnolis():
    def unmasked(masked):
        rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
        return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF

    assert unmasked(masked_crc32c(b"123456789")) == 0xE3069283  # RFC 3720's check value
    assert unmasked(masked_crc32c(bytes(32))) == 0x8A9136AA  # RFC 3720, B.4
    assert varint(300) == b"\xac\x02" and len(varint(-1)) == 10 and single(2, 1e300)[1:] == b"\x00\x00\x80\x7f"


def test_tensorboard_reads_the_event_files(job, tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    plugin = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    api = pytest.importorskip("tensorboard.plugins.hparams.api_pb2")
    for _ in range(2):  # the second takes the first one's place
        job.to_tensorboard(tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["3-0", "3-1"]
    assert all(len(list(each.iterdir())) == 1 for each in tmp_path.iterdir())
    events = accumulators.EventAccumulator(str(tmp_path / "3-0"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["auroc", "auroc/brick", "loss"]
    loss = events.Scalars("loss")
    assert [each.step for each in loss] == [1, 20, 40] and loss[0].value == 30.25 and math.isnan(loss[1].value)
    assert loss[2].wall_time == 1_700_000_050 and loss[1].wall_time == 1_700_000_030
    assert events.Scalars("auroc")[1].value == pytest.approx(0.9)

    def content(tag):
        data = plugin.HParamsPluginData()
        data.ParseFromString(events.summary_metadata[tag].plugin_data.content)
        return data

    assert {tag for tag in events.summary_metadata if tag.startswith("_hparams_")} == {
        "_hparams_/experiment", "_hparams_/session_start_info", "_hparams_/session_end_info"}  # fmt: skip
    start = content("_hparams_/session_start_info").session_start_info
    assert start.hparams["train.lr"].number_value == 0.01 and start.hparams["eval.score"].string_value == "max"
    experiment = content("_hparams_/experiment").experiment
    assert {each.name: each.type for each in experiment.hparam_infos}["eval.score"] == 1
    assert experiment.metric_infos[0].name.tag == "auroc"
    end = content("_hparams_/session_end_info").session_end_info
    assert end.status == api.STATUS_SUCCESS and end.end_time_secs == 1_700_000_050


def test_every_record_passes_tensorboards_own_checks(job, tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    job.to_tensorboard(tmp_path)
    (file,) = (tmp_path / "3-1").iterdir()
    events = list(loader.LegacyEventFileLoader(str(file)).Load())
    assert events[0].file_version == "brain.Event:2"
    assert [each.step for each in events[4:]] == [0, 1, 20, 40]
    assert {value.tag for value in events[-1].summary.value} == {"loss", "auroc", "auroc/brick"}


def test_tensorboards_hparams_page_lists_the_runs(job, tmp_path):
    multiplexers = pytest.importorskip("tensorboard.backend.event_processing.plugin_event_multiplexer")
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

    job.to_tensorboard(tmp_path)
    multiplexer = multiplexers.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    context = backend_context.Context(TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(tmp_path))))
    experiment = get_experiment.Handler(RequestContext(), context, "e", api_pb2.GetExperimentRequest()).run()
    assert {info.name for info in experiment.hparam_infos} == {"train.lr", "eval.score", "model.dropout"}
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=10,
        allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE],
        col_params=[api_pb2.ColParams(metric=api_pb2.MetricName(tag="auroc"))],
    )
    groups = list_session_groups.Handler(RequestContext(), context, "e", request).run().session_groups
    found = {group.name: group.metric_values[0].value for group in groups}
    assert found == {"3/0": pytest.approx(0.9), "3/1": pytest.approx(0.8)}


def test_mlflow_reads_the_file_store(job, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = pytest.importorskip("mlflow")
    folder = tmp_path / "mlruns"
    for _ in range(2):  # the second takes the first one's place
        job.to_mlflow(folder)
    mlflow.set_tracking_uri(folder.as_uri())
    experiment = mlflow.get_experiment_by_name("search (hivq job 3)")
    assert experiment.tags["hivq.job"] == "3" and experiment.lifecycle_stage == "active"
    runs = {run.info.run_name: run for run in mlflow.search_runs([experiment.experiment_id], output_format="list")}
    assert set(runs) == {"3/0", "3/1"}
    best = runs["3/0"]
    assert best.data.params == {"train.lr": "0.01", "eval.score": "max", "model.dropout": "0"}
    assert best.data.metrics == {"loss": 17.5, "auroc": 0.9, "auroc.brick": 0.75}
    assert best.info.status == "FINISHED" and runs["3/1"].info.status == "FAILED"
    assert best.info.end_time - best.info.start_time == 40_000
    assert runs["3/1"].data.tags["hivq.reason"] == "the loss is not finite" and best.info.user_id == "ada"
    history = mlflow.MlflowClient().get_metric_history(best.info.run_id, "loss")
    assert [(each.step, each.timestamp) for each in history] == [(1, 1_700_000_011_000), (20, 1_700_000_030_000), (40, 1_700_000_050_000)]
    assert math.isnan(history[1].value)
    found = mlflow.search_runs([experiment.experiment_id], "metrics.auroc > 0.85", output_format="list")
    assert [run.info.run_name for run in found] == ["3/0"]
    if "pandas" in __import__("sys").modules:
        assert mlflow.search_runs([experiment.experiment_id])["metrics.auroc"].max() == 0.9


def test_names_do_not_lead_out_of_the_store(stub, job, tmp_path):
    evil = {"../../../evil": {"steps": [1], "values": [1.0]}, "..": {"steps": [1], "values": [2.0]}, "a:b*c": {"steps": [1], "values": [3.0]}}
    stub.on("GET", "/jobs/3/trials", answers.trial_page([answers.row(0, params={"/etc/evil": "1"})]))
    stub.on("GET", "/jobs/3/metrics", answers.ndjson([{"trial": "3/0", "metric": name, **curve} for name, curve in evil.items()]))
    job.to_mlflow(tmp_path / "mlruns")
    assert [each.name for each in tmp_path.iterdir()] == ["mlruns"]
    (metrics,) = (tmp_path / "mlruns").glob("*/*/metrics")
    assert sorted(each.name for each in metrics.iterdir()) == [".........evil", "_", "a_b_c"]


def test_files_are_written_for_the_zone_of_the_reader(job, tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        job.to_tensorboard(tmp_path)
    finally:
        monkeypatch.undo()
        time.tzset()
    (file,) = (tmp_path / "3-0").iterdir()
    assert file.name == "events.out.tfevents.1700000010.hivq.3.0" and os.path.getsize(file) > 100


def test_a_job_of_no_trials_is_written_too(stub, job, tmp_path):
    stub.on("GET", "/jobs/3/trials", answers.trial_page([]))
    stub.on("GET", "/jobs/3/metrics", answers.ndjson([]))
    job.to_csv(tmp_path / "results.csv")
    job.to_mlflow(tmp_path / "mlruns")
    job.to_tensorboard(tmp_path / "runs")
    assert (tmp_path / "results.csv").read_text().startswith("trial,rank,") and isinstance(job, hivq.Job)


def test_trials_without_points_and_of_later_are_told_apart(stub, job, tmp_path):
    """3/1 has no points yet; 3/2 came after the list of trials was read."""
    stub.on("GET", "/jobs/3/metrics", answers.curve_lines(0, 2))
    told = []
    job.to_tensorboard(tmp_path, told=lambda done, of: told.append((done, of)))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["3-0", "3-1"] and told == [(1, 2), (2, 2)]


def test_conditions_and_points_go_to_the_coordinator(stub, job, tmp_path):
    job.to_tensorboard(tmp_path / "runs", points=50, where="variant = '+ POT'")
    assert stub.seen("GET", "/jobs/3/trials")[-1].query["where"] == ["variant = '+ POT'"]
    asked = stub.seen("GET", "/jobs/3/metrics")[-1].query
    assert asked == {"where": ["variant = '+ POT'"], "points": ["50"]}
    assert list(job.all_curves(metrics=["loss"])) and stub.requests[-1].query["metric"] == ["loss"]


def test_a_stream_that_breaks_goes_on_behind_the_last_whole_trial(stub, job):
    whole = answers.curve_lines(0, 1, 2, 3).body
    cut = whole.rindex(b'"3/2"') + 30  # within the last line of 3/2
    rest = [line for line in whole.splitlines(keepends=True) if b'"3/2"' in line or b'"3/3"' in line]
    kind = "application/x-ndjson"
    in_chunks = b"%x\r\n%s\r\n" % (cut, whole[:cut])  # and none of no length, which would end it
    broken = [Answer(type=kind, headers={"Transfer_Encoding": "chunked"}, stream=[in_chunks]), Answer(drop=True), problem(503, "starting")]
    broken.append(Answer(200, rest[0], kind, length=sum(map(len, rest))))
    stub.on("GET", "/jobs/3/metrics", *broken, Answer(200, b"".join(rest), kind))
    found = dict(job.all_curves())
    assert list(found) == ["3/0", "3/1", "3/2", "3/3"] and found["3/2"]["auroc"].values == [0.5, pytest.approx(0.7)]
    assert [each.query.get("after") for each in stub.seen("GET", "/jobs/3/metrics")] == [None, ["1"], ["1"], ["1"], ["1"]]


def test_a_curve_in_pieces_is_put_together(stub, job):
    pieces = [{"trial": "3/0", "metric": "loss", "steps": [i], "values": [i / 2]} for i in range(5)]
    stub.on("GET", "/jobs/3/metrics", answers.ndjson(pieces))
    assert dict(job.all_curves()) == {"3/0": {"loss": hivq.Curve([0, 1, 2, 3, 4], [0, 0.5, 1, 1.5, 2])}}


def test_curves_are_written_as_tables(job, tmp_path):
    job.curves_to_csv(tmp_path / "metrics.csv")
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines[:3] == ["trial,metric,step,value", "3/0,auroc,0,0.5", "3/0,auroc,40,0.9"] and len(lines) == 13
    assert "3/1,loss,20,nan" in lines
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    job.curves_to_parquet(tmp_path / "metrics.parquet")
    read = pandas.read_parquet(tmp_path / "metrics.parquet")
    assert read.shape == (12, 4) and read["value"].isna().sum() == 2 and set(read["trial"]) == {"3/0", "3/1"}
    assert str(read["step"].dtype) == "int64" and str(read["trial"].dtype) == "category"
