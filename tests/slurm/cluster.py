"""A real Slurm on one machine, as root: Debian's slurmctld, a slurmd on each host of tests/hosts/network.py, munge with a
key of its own. Nothing of /etc/slurm or /etc/munge is read.

    python3 tests/slurm/cluster.py            # a shell on head: sinfo, sbatch, srun …
    python3 tests/slurm/cluster.py COMMAND …  # or that command
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "hosts"))
from network import HEAD, Network, do, possible as network_possible, until  # noqa: E402

CONFIG = """
ClusterName=hivq
SlurmctldHost=head({head})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool_%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd_%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd_%n.log
MailProg=/bin/true
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# Each node has its own; /tmp they share.
TmpFS=/var/tmp
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
# A test waits for what a cluster does in minutes.
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,max_rpc_cnt=0
PriorityType=priority/basic
SlurmdTimeout=6
SlurmctldTimeout=10
MessageTimeout=5
KillWait=3
CompleteWait=0
ReturnToService=1
NodeName=n[1-{nodes}] CPUs=4 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=60 DefaultTime=30 State=UP
PartitionName=short Nodes=n1 MaxTime=1 State=UP
PartitionName=closed Nodes=ALL State=DOWN
"""


class Job(NamedTuple):
    state: str
    reason: str
    nodes: str
    name: str


class Slurm:
    def __init__(self, folder, nodes=3):
        self.folder = Path(folder)
        self.network = Network(folder, [f"n{i + 1}" for i in range(nodes)])
        self.daemons, self.controller = [], None
        try:
            for name in ("state", *(f"spool_{host.name}" for host in self.network.hosts)):
                (self.folder / name).mkdir()
            self.config = self.folder / "slurm.conf"
            self.config.write_text(CONFIG.format(head=HEAD, folder=folder, nodes=nodes))
            self.config.chmod(0o644)
            os.environ["SLURM_CONF"] = str(self.config)
            self.start_munge()
            self.start_controller()
            for host in self.network.hosts:
                self.start_node(host.name)
            until(self.all_idle, 30, "all nodes idle")
        except BaseException:
            self.close()
            raise

    def daemon(self, *command, log):
        with open(self.folder / log, "ab") as file:
            started = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *map(str, command)], stdin=subprocess.DEVNULL, stdout=file,
                                       stderr=file)
        self.daemons.append(started)
        return started

    def start_munge(self):
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        socket = self.folder / "munge.socket"
        # --force: the temporary folder belongs to whoever runs this, and others may write to /tmp.
        self.daemon("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={socket}", f"--pid-file={socket}.pid",
                    f"--seed-file={socket}.seed", f"--log-file={socket}.log", log="munged.log")
        until(socket.exists, 10, "munged's socket")

    def start_controller(self):
        if self.controller:
            self.controller.wait(20)
        self.controller = self.daemon("slurmctld", "-D", log="slurmctld.out")
        until(lambda: subprocess.run(["scontrol", "ping"], capture_output=True).returncode == 0, 20, "slurmctld answers")

    def stop_controller(self, with_signal=signal.SIGTERM):
        self.controller.send_signal(with_signal)

    def start_node(self, name):
        """On a host that is off or on."""
        host = self.network[name]
        if host.process.poll() is not None:
            host.on()
        host.start("slurmd", "-D", "-N", name, log=self.folder / f"slurmd_{name}.out")

    def all_idle(self):
        return set(do("sinfo", "-h", "-N", "-o", "%T").split()) == {"idle"}

    def jobs(self, *states):
        """By number, of all that slurmctld remembers or of those in these states: state, reason, nodes, name."""
        lines = do("squeue", "-h", "--array", "-t", "all", "-o", "%i|%T|%r|%N|%j").splitlines()
        jobs = {number: Job(*fields) for number, *fields in (line.split("|") for line in lines)}
        return {number: job for number, job in jobs.items() if not states or job.state in states}

    def live(self):
        return self.jobs("PENDING", "CONFIGURING", "RUNNING", "COMPLETING")

    def close(self):
        for host in self.network.hosts:
            host.off()
        for daemon in reversed(self.daemons):
            if daemon.poll() is None:
                daemon.terminate()
                daemon.wait(20)
        self.network.close()
        os.environ.pop("SLURM_CONF", None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def possible():
    """Why there can be no Slurm here; empty: there can."""
    lacking = [program for program in ("slurmctld", "slurmd", "munged", "sbatch") if not shutil.which(program)]
    return network_possible() or (f"not installed: {', '.join(lacking)}" if lacking else "")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="hivq_slurm_") as folder, Slurm(folder):
        sys.exit(subprocess.run(sys.argv[1:] or ["bash"], env=dict(os.environ, HIVQ_SLURM=folder)).returncode)
