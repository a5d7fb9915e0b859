"""A pool of gangs in a real Slurm: grows and shrinks with the queue, and survives what happens to jobs, nodes, Slurm and
the coordinator. As root; see cluster.py."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cluster import Slurm, do, possible, until  # noqa: E402
from programs import Coordinator, job, worker_of_one_thread  # noqa: E402

pytestmark = pytest.mark.skipif(bool(possible()), reason=possible())
POOL = """
pools:
  - name: slurm
    launcher: slurm
    ranks: 2
    minimum: {minimum}
    maximum: {maximum}
    idle: 4s
    poll: 1s
    partition: {partition}
    sbatch: [{sbatch}]
    requeue: false
    worker: {worker}
    cache: {cache}
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with Slurm(tmp_path_factory.mktemp("slurm")) as slurm:
        yield slurm


@pytest.fixture
def start(slurm, tmp_path, tmp_path_factory):
    coordinators = []
    cache = tmp_path_factory.getbasetemp() / "features"  # of all tests: the same few images
    worker = worker_of_one_thread(tmp_path)

    def start(partition="debug", minimum=0, maximum=1, sbatch="--exclusive, --nodes=1"):
        """A coordinator with a pool whose gangs have a node each."""
        pools = tmp_path / "pools.yaml"
        pools.write_text(POOL.format(partition=partition, minimum=minimum, maximum=maximum, sbatch=sbatch, worker=worker, cache=cache))
        coordinators.append(Coordinator(tmp_path, "--pools", pools))
        return coordinators[-1]

    yield start
    for coordinator in coordinators:
        coordinator.end()
    for number in slurm.live():  # gangs outlive their coordinator
        do("scancel", number)
    for host in slurm.network.hosts:
        if host.process.poll() is not None:
            slurm.start_node(host.name)
    subprocess.run(["scontrol", "update", "nodename=ALL", "state=resume"], capture_output=True)
    until(slurm.all_idle, 60, lambda: do("sinfo", "-N") + do("squeue"))


def the_job(slurm):
    """Number and nodes of the only one that runs."""
    running = slurm.jobs("RUNNING")
    assert len(running) == 1, running
    return next((number, job.nodes) for number, job in running.items())


def trains(coordinator, number, after=0):
    return until(lambda: coordinator.trains_beyond_a_checkpoint(number, after=after), 60,
                 lambda: f"trains: {coordinator.trial(number)}\n{coordinator.log.read_text()}")


def test_the_pool_grows_with_what_waits_and_shrinks_when_nothing_does(slurm, start):
    coordinator = start(maximum=2)
    assert slurm.live() == {}
    before = set(slurm.jobs())
    number = coordinator.submit(job("sweep", 150, trials=5))
    until(lambda: len(slurm.jobs("RUNNING")) == 2, 30, "two jobs run")
    assert all(each.name.startswith("hivq-") for each in slurm.live().values())
    gangs = until(lambda: (gangs := coordinator.gangs(pool="slurm")) and len(gangs) == 2 and gangs, 30, "two gangs")
    assert {gang["host"] for gang in gangs} < {"n1", "n2", "n3"}
    coordinator.finishes(number, 300)
    until(lambda: not slurm.live(), 30, lambda: do("squeue"))
    assert len(set(slurm.jobs()) - before) == 2 and coordinator.gangs() == []


def test_one_trial_gets_one_gang(slurm, start):
    coordinator = start(maximum=2)
    before = set(slurm.jobs())
    coordinator.finishes(coordinator.submit(job("one", 100)), 60)
    assert len(set(slurm.jobs()) - before) == 1


def test_gangs_that_are_asked_for_at_once_are_one_array_of_which_each_ends_alone(slurm, start):
    coordinator = start(maximum=3)
    before = set(slurm.jobs())
    number = coordinator.submit(job("array", 900, trials=3))
    until(lambda: len(slurm.jobs("RUNNING")) == 3, 30, "three jobs run")
    arrays = do("squeue", "--noheader", "--array", "--states=RUNNING", "--format=%F %K").split("\n")
    assert len({line.split()[0] for line in arrays if line}) == 1, arrays
    trains(coordinator, number)
    array = arrays[0].split()[0]
    do("scancel", f"{array}_1")
    trials = coordinator.finishes(number, 300)
    assert sorted(trial["attempts"] for trial in trials) == [1, 1, 2], trials
    logs = [log.read_text() for log in (coordinator.data / "gangs").glob("*.log")]
    assert len(logs) == 4 and all(logs), logs
    until(lambda: not slurm.live(), 30, lambda: do("squeue"))
    assert len(set(slurm.jobs()) - before) == 4


def test_a_trial_goes_on_in_another_gang_when_someone_cancels_its_job(slurm, start):
    coordinator = start()
    number = coordinator.submit(job("cancelled", 1000))
    trial = trains(coordinator, number)
    shown = coordinator.points(number)
    cancelled, _ = the_job(slurm)
    do("scancel", cancelled)
    trains(coordinator, number, after=trial["step"])
    assert the_job(slurm)[0] != cancelled
    coordinator.finishes(number, 300)
    assert coordinator.trial(number)["attempts"] == 2 and shown.items() <= coordinator.points(number).items()


def test_a_trial_goes_on_elsewhere_when_its_node_loses_power_and_when_one_is_set_down(slurm, start):
    coordinator = start()
    number = coordinator.submit(job("down", 1000))
    trial = trains(coordinator, number)
    shown = coordinator.points(number)
    _, node = the_job(slurm)
    slurm.network[node].cut()
    slurm.network[node].off()
    until(lambda: coordinator.trial(number)["attempts"] == 2, 60, "another gang")
    trains(coordinator, number, after=trial["step"])
    shown |= coordinator.points(number)
    other = next(each.nodes for each in slurm.jobs("RUNNING").values() if each.nodes != node)
    do("scontrol", "update", f"nodename={other}", "state=down", "reason=test")
    until(lambda: coordinator.trial(number)["attempts"] == 3, 60, "a third gang")
    coordinator.finishes(number, 300)
    assert shown.items() <= coordinator.points(number).items()


def test_a_coordinator_that_was_killed_finds_its_gangs_again(slurm, start):
    coordinator = start(maximum=2)
    number = coordinator.submit(job("adopted", 900, trials=3))
    until(lambda: len(slurm.jobs("RUNNING")) == 2, 30, "two jobs run")
    trains(coordinator, number)
    before = set(slurm.jobs())
    coordinator.kill()
    coordinator.start()
    trials = coordinator.finishes(number, 300)
    assert [trial["attempts"] for trial in trials] == [1, 1, 1]
    until(lambda: not slurm.live(), 30, lambda: do("squeue"))
    assert set(slurm.jobs()) == before


def test_gangs_train_on_while_slurm_is_away(slurm, start):
    coordinator = start()
    number = coordinator.submit(job("away", 1000))
    trial = trains(coordinator, number)
    slurm.stop_controller()
    try:
        trains(coordinator, number, after=trial["step"] + 100)
    finally:
        slurm.start_controller()
    coordinator.finishes(number, 300)
    assert coordinator.trial(number)["attempts"] == 1


def test_explain_says_what_slurm_says_of_a_job_that_waits(slurm, start):
    coordinator = start("closed")
    number = coordinator.submit(job("closed", 5))
    until(lambda: "PartitionDown" in coordinator.hivq("explain", number), 30, lambda: coordinator.hivq("explain", number))
    coordinator.ask(f"/jobs/{number}/cancel", "")
    until(lambda: not slurm.live(), 30, lambda: do("squeue"))


def test_a_partition_that_is_not_there_ends_the_job_with_slurms_words(slurm, start):
    coordinator = start("nosuch")
    number = coordinator.submit(job("nowhere", 5))
    until(lambda: "nvalid partition" in coordinator.hivq("explain", number), 30, lambda: coordinator.hivq("explain", number))
    until(lambda: coordinator.job(number)["state"] == "failed", 60, lambda: coordinator.job(number))
    assert "nvalid partition" in coordinator.trial(number)["reason"]


def test_a_gang_over_two_nodes_gives_the_numbers_of_one_on_one_node(slurm, start):
    coordinator = start()
    near = coordinator.submit(job("near", 60))
    coordinator.finishes(near, 300)
    numbers = coordinator.points(near)
    coordinator.end()
    until(lambda: coordinator.process.poll() is not None, 10)
    for each in slurm.live():
        do("scancel", each)
    coordinator = start(sbatch="--exclusive, --nodes=2, --ntasks-per-node=1")
    far = coordinator.submit(job("far", 60))
    coordinator.finishes(far, 300)
    assert coordinator.points(far) == numbers != {}
    assert the_job(slurm)[1].startswith("n[")


def test_a_gang_that_loses_a_rank_while_it_waits_ends_whole_and_is_replaced(slurm, start):
    coordinator = start(minimum=1, sbatch="--exclusive, --nodes=2, --ntasks-per-node=1")
    gang, = until(coordinator.gangs, 30, lambda: coordinator.log.read_text())
    before, nodes = the_job(slurm)
    other = next(host for host in slurm.network.hosts if host.name != gang["host"] and host.has("hivq-worker"))
    other.kill("hivq-worker")
    until(lambda: before not in slurm.live(), 30, lambda: do("squeue"))
    until(lambda: any(each["gang"] != gang["gang"] for each in coordinator.gangs()), 30, lambda: coordinator.log.read_text())
    coordinator.finishes(coordinator.submit(job("after", 5)), 60)
