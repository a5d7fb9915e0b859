"""Several hosts on one machine, as root: each has its own network, name, processes, mounts and shared memory, and hangs
with one cable on a switch that nothing else can reach. Whoever makes the network is its first host, `head`.

    python3 tests/hosts/network.py            # a shell on head, with host1 and host2: ssh host1
    python3 tests/hosts/network.py COMMAND …  # or that command
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)
OWN = {"mnt": 0x00020000, "uts": 0x04000000, "net": 0x40000000}  # CLONE_NEW…, of sched.h
HEAD = "10.4.0.1"

# The first process of a host: it collects whoever loses its parent. Run by bash, whose name it carries.
INIT = """
hostname "$1"
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/tmp
mkdir /run/sshd
while :; do sleep 1000 & wait; done
"""
SSHD = """
Port 22
ListenAddress {address}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
PidFile none
"""
SSH = """
Host *
  IdentityFile {folder}/key
  IdentitiesOnly yes
  GlobalKnownHostsFile {folder}/known_hosts
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  ConnectTimeout 5
  LogLevel ERROR
"""


def do(*command, **options):
    """A command that must succeed; what it says."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout


def until(look, seconds, what=""):
    """What `look` gives once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")


def checked(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Host:
    """One host. What runs on it ends with it, and it ends with the process that made it."""

    def __init__(self, network, name, address):
        self.network, self.name, self.address = network, name, address
        self.on()

    def on(self):
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--uts", "--ipc", "--mount", "--pid", "--fork",
             "--kill-child", "--mount-proc", "bash", "-c", INIT, "bash", self.name], stderr=subprocess.DEVNULL)
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.init = until(lambda: children.read_text().split(), 10)[0]
        until(lambda: os.readlink(f"/proc/{self.init}/ns/net") != os.readlink("/proc/self/ns/net"), 10)
        do("ip", "link", "add", self.port, "type", "veth", "peer", "name", "eth0", "netns", self.init)
        do("ip", "link", "set", self.port, "master", "switch", "up")
        until(lambda: self.run("test", "-d", "/run/sshd", check=False).returncode == 0, 10)
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")

    @property
    def port(self):
        """The switch's end of the cable."""
        return f"to-{self.name}"

    def command(self, *command):
        return ["nsenter", "--target", self.init, "--net", "--uts", "--ipc", "--mount", "--pid", *map(str, command)]

    def run(self, *command, check=True, **options):
        done = subprocess.run(self.command(*command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
        assert not check or done.returncode == 0, f"{self.name}: {' '.join(map(str, command))}\n{done.stdout}"
        return done

    def start(self, *command, log, **options):
        with open(log, "ab") as file:
            return subprocess.Popen(self.command(*command), stdin=subprocess.DEVNULL, stdout=file, stderr=file, **options)

    def has(self, name):
        """The numbers of this host's processes whose program has that name."""
        return self.run("pgrep", "-x", name, check=False).stdout.split()

    def kill(self, name):
        for process in self.has(name):
            self.run("kill", "-KILL", process, check=False)

    def cut(self):
        """Pulls the cable at the switch: whatever is sent is lost, and nobody is told."""
        do("ip", "link", "set", self.port, "down")

    def heal(self):
        do("ip", "link", "set", self.port, "up")

    def off(self):
        """Pulls the plug."""
        if self.process.poll() is None:
            os.kill(int(self.init), signal.SIGKILL)
            self.process.wait(20)
        subprocess.run(["ip", "link", "delete", self.port], stderr=subprocess.DEVNULL)

    def serve_ssh(self):
        config = self.network.folder / f"sshd_{self.name}"
        config.write_text(SSHD.format(address=self.address, folder=self.network.folder))
        self.start("/usr/sbin/sshd", "-D", "-e", "-f", config, log=self.network.folder / f"sshd_{self.name}.log")


class Network:
    """The calling thread moves to it, and so does whatever it starts; back at close()."""

    def __init__(self, folder, names):
        self.folder = Path(folder)
        self.hosts = []
        self.before = {space: os.open(f"/proc/thread-self/ns/{space}", os.O_RDONLY) for space in OWN}
        checked(libc.unshare(sum(OWN.values())))
        try:
            self.build(names)
        except BaseException:
            self.close()
            raise

    def build(self, names):
        do("mount", "--make-rprivate", "/")
        do("hostname", "head")
        for line in ("link set lo up", "link add switch type bridge", f"address add {HEAD}/24 dev switch", "link set switch up"):
            do("ip", *line.split())
        addresses = {name: f"10.4.0.{11 + i}" for i, name in enumerate(names)}
        known = {"localhost": "127.0.0.1", "head": HEAD, **addresses}
        (self.folder / "hosts").write_text("".join(f"{address} {name}\n" for name, address in known.items()))
        do("mount", "--bind", self.folder / "hosts", "/etc/hosts")
        self.make_keys(addresses)
        for name, address in addresses.items():
            self.hosts.append(Host(self, name, address))

    def make_keys(self, addresses):
        for name in ("key", "host_key"):
            do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", self.folder / name)
        public = (self.folder / "host_key.pub").read_text()
        (self.folder / "known_hosts").write_text("".join(f"{name},{address} {public}" for name, address in addresses.items()))
        (self.folder / "ssh_config").write_text(SSH.format(folder=self.folder))

    def __getitem__(self, name):
        return next(host for host in self.hosts if host.name == name)

    def close(self):
        for host in self.hosts:
            host.off()
        there = os.getcwd()
        for space, file in self.before.items():
            checked(libc.setns(file, OWN[space]))
            os.close(file)
        os.chdir(there)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def possible():
    """Why there can be no such network here; empty: there can."""
    if os.geteuid() != 0:
        return "only root makes networks"
    lacking = [program for program in ("ip", "unshare", "nsenter", "setpriv", "ssh", "/usr/sbin/sshd") if not shutil.which(program)]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="hivq_hosts_") as folder, Network(folder, ["host1", "host2"]) as network:
        for host in network.hosts:
            host.serve_ssh()
        environment = dict(os.environ, HIVQ_HOSTS=folder)
        sys.exit(subprocess.run(sys.argv[1:] or ["bash"], env=environment).returncode)
