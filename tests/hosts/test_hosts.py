"""Gangs over several hosts by ssh, and cables that are cut while they train. As root; see network.py."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from network import Network, possible, until  # noqa: E402
from programs import BIN, ENDPOINT, Coordinator, job, worker_of_one_thread  # noqa: E402

# By default mpirun notices after 8 minutes that a host has gone without a word.
NOTICES_SOON = "--mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 3".split()

pytestmark = pytest.mark.skipif(bool(possible()), reason=possible())

POOL = """
pools:
  - name: lab
    launcher: hostfile
    hosts: [{hosts}]
    ranks: 2
    maximum: 1
    worker: {worker}
    cache: {folder}/features
    mpirun: [--bind-to, none, --mca, plm_rsh_agent, ssh -F {network}/ssh_config]
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    with Network(tmp_path_factory.mktemp("network"), ["host1", "host2", "host3"]) as network:
        for host in network.hosts:
            host.serve_ssh()
        yield network


@pytest.fixture
def coordinator(network, tmp_path):
    with Coordinator(tmp_path) as running:
        yield running
    heal(network)


@pytest.fixture
def pool(network, tmp_path):
    """A coordinator with a pool of these hosts, one slot each."""
    started = []

    def pool(*hosts):
        file = tmp_path / "pools.yaml"
        file.write_text(POOL.format(hosts=", ".join(f"{host} slots=1" for host in hosts), folder=tmp_path, network=network.folder,
                                    worker=worker_of_one_thread(tmp_path)))
        started.append(Coordinator(tmp_path, "--pools", file))
        return started[-1]

    yield pool
    heal(network)
    for coordinator in started:
        coordinator.end()


def heal(network):
    for host in network.hosts:
        host.heal()


class Gang:
    """By hand: mpirun on head."""

    def __init__(self, coordinator, name, *mpirun, timeout=600):
        """`timeout`: seconds that a rank waits for another."""
        self.name, self.log = name, coordinator.folder / f"{name}.log"
        # One thread each: sums of several would be those of other threads on a host of its own.
        command = ["mpirun", *mpirun, "-np", "2", "--bind-to", "none", BIN / "hivq-worker", "--coordinator", ENDPOINT, "--label",
                   f"gang={name}", "--cache", coordinator.folder / f"features-{name}", "--threads", "1", "--no-bind", "--timeout", timeout]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *map(str, command)], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=coordinator.environment)

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)


@pytest.fixture
def start(network, coordinator):
    gangs = []

    def start(name, *mpirun, **options):
        """On head or, if its name begins with far, over both hosts."""
        everywhere = coordinator.folder / "hosts"
        everywhere.write_text("host1 slots=1\nhost2 slots=1\n")
        over = ["--hostfile", everywhere, "--mca", "plm_rsh_agent", f"ssh -F {network.folder}/ssh_config", "-x", "HIVQ_KEY"]
        gangs.append(Gang(coordinator, name, *(over if name.startswith("far") else ["--oversubscribe"]), *mpirun, **options))
        until(lambda: coordinator.gangs(gang=name), 60, lambda: f"gang {name} joins: {gangs[-1].log.read_text()}")
        return gangs[-1]

    yield start
    heal(network)
    for gang in gangs:
        gang.end()


def test_a_gang_over_two_hosts_gives_the_numbers_of_one_on_one_host(network, coordinator, start):
    start("far")
    assert [len(host.has("hivq-worker")) for host in network.hosts] == [1, 1, 0]
    start("near")
    far = coordinator.submit(job("far", 60, labels={"gang": "far"}))
    coordinator.finishes(far, 300)
    near = coordinator.submit(job("near", 60, labels={"gang": "near"}))
    coordinator.finishes(near, 300)
    assert coordinator.trial(far)["final"] == coordinator.trial(near)["final"]
    assert coordinator.points(far) == coordinator.points(near) != {}


def test_a_trial_goes_on_elsewhere_when_the_leaders_host_is_cut_off_and_the_healed_gang_serves_again(network, coordinator, start):
    start("far")
    number = coordinator.submit(job("cut", 1000))
    trial = until(lambda: coordinator.trains_beyond_a_checkpoint(number), 30, "trains")
    start("near")
    network["host1"].cut()
    shown = coordinator.points(number)
    until(lambda: coordinator.trial(number)["attempts"] == 2, 30, "the loss is noticed")
    assert [gang["labels"]["gang"] for gang in coordinator.gangs()] == ["near"]
    network["host1"].heal()
    until(lambda: coordinator.trains_beyond_a_checkpoint(number, after=trial["step"]), 30, "goes on")
    until(lambda: len(coordinator.gangs()) == 2, 60, "the healed gang is back")
    coordinator.finishes(number, 300)
    assert coordinator.trial(number)["attempts"] == 2
    assert shown.items() <= coordinator.points(number).items()
    again = coordinator.submit(job("again", 5, labels={"gang": "far"}))
    coordinator.finishes(again, 300)


def test_a_trial_goes_on_elsewhere_when_another_ranks_host_is_cut_off_and_a_new_gang_serves_after_healing(network, coordinator, start):
    far = start("far", *NOTICES_SOON)
    number = coordinator.submit(job("cut", 1000))
    until(lambda: coordinator.trains_beyond_a_checkpoint(number), 30, "trains")
    start("near")
    network["host2"].cut()
    shown = coordinator.points(number)
    until(lambda: coordinator.trial(number)["attempts"] == 2, 30, "the loss is noticed")
    until(lambda: far.process.poll() is not None, 30, "mpirun ends though it cannot reach host2")
    until(lambda: not any(host.has("hivq-worker") for host in network.hosts), 30, "no rank is left, not even on host2")
    network["host2"].heal()
    start("far-again")
    coordinator.finishes(number, 300)
    assert shown.items() <= coordinator.points(number).items()
    again = coordinator.submit(job("again", 5, labels={"gang": "far-again"}))
    coordinator.finishes(again, 300)


def test_a_pool_waits_for_a_host_that_is_cut_off_and_goes_on_when_it_is_healed(network, pool):
    coordinator = pool("host1", "host2")
    number = coordinator.submit(job("waits", 1000))
    trial = until(lambda: coordinator.trains_beyond_a_checkpoint(number), 30, lambda: coordinator.log.read_text())
    network["host2"].cut()
    shown = coordinator.points(number)
    until(lambda: coordinator.log.read_text().count("host2 port 22: Connection timed out") >= 4, 90, lambda: coordinator.log.read_text())
    assert "host2" in coordinator.hivq("explain", number)
    network["host2"].heal()
    until(lambda: coordinator.trains_beyond_a_checkpoint(number, after=trial["step"]), 90, lambda: coordinator.hivq("explain", number))
    coordinator.finishes(number, 300)
    assert shown.items() <= coordinator.points(number).items()


def test_a_pool_goes_on_with_the_hosts_that_are_left(network, pool):
    coordinator = pool("host1", "host2", "host3")
    number = coordinator.submit(job("left", 1000))
    until(lambda: coordinator.trains_beyond_a_checkpoint(number), 30, lambda: coordinator.log.read_text())
    network["host2"].cut()
    shown = coordinator.points(number)
    coordinator.finishes(number, 300)
    assert coordinator.trial(number)["attempts"] == 2 and shown.items() <= coordinator.points(number).items()


def test_a_rank_that_waits_in_vain_for_another_says_so(network, coordinator, start):
    start("far", timeout=3)
    number = coordinator.submit(job("alone", 1000))
    until(lambda: coordinator.trains_beyond_a_checkpoint(number), 30, "trains")
    network["host2"].cut()
    until(lambda: "another rank did not take part in an all-reduce for 3 s" in coordinator.log.read_text(), 30, "the reason")
    assert "rank 0 on host1 failed" in coordinator.trial(number)["reason"] + coordinator.log.read_text()
