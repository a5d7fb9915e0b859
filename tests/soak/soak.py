"""An hour of everything at once, by hand: a guarded coordinator under load, faults, strangers and restarts. In the end its memory
has not grown, nothing that was acknowledged is lost, and the store is whole.

    tests/soak/soak.py --minutes 60 --bin build/release/bin        # needs pip install -e jobs/python

Load: studies of many threads over HTTPS, sweeps of a real gang. Faults: kill -9 of the coordinator and of gangs, ends in order.
Strangers: garbage on both ports, connections that say nothing. Prints a line a minute, and figures.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import hivq

SWEEP = """
name: soak-{number}
data: {{name: fashion-mnist, normal_classes: [0, 1], train_per_class: 20, test_per_class: 10, image_size: 64}}
model: {{width: 16, layers: 1, heads: 2, feed_forward: 32, quantizer: {{prototypes: 8, start: data, decay: 0.9}}}}
loss: {{pot: 0}}
train: {{epochs: 4, batch_size: 16, eval_every: 2, checkpoint_every: 1}}
eval: {{pot: 0}}
gang: {{ranks: 1}}
sweep: {{metric: auroc, goal: maximize, parameters: {{train.lr: [1.0e-3, 1.0e-2]}}}}
"""


class Soak:
    def __init__(self, folder, programs, seed):
        self.folder, self.data, self.programs = folder, folder / "data", programs
        self.chance = random.Random(seed)
        self.ending = threading.Event()
        self.lock = threading.Lock()
        self.process = None
        self.kept = {}  # trial → its acknowledged values by step
        self.counts = dict.fromkeys(("trials", "reports", "sweeps", "kills", "ends", "gangs_killed", "strangers"), 0)
        self.memory = []  # (minutes, minutes since the coordinator's start, MB)
        self.problems = []
        self.started = time.monotonic()
        self.ports = [free_port(), free_port()]

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    # ---- The coordinator ----

    def start(self):
        log = open(self.folder / "coordinator.log", "ab")
        environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
        self.process = subprocess.Popen(
            [self.programs / "hivq-coordinator", "--data", self.data, "--listen", f"tcp://127.0.0.1:{self.ports[0]}", "--http",
             f"https://127.0.0.1:{self.ports[1]}", "--secure", "--local-gangs", "1", "--local-ranks", "1"],
            stdout=log, stderr=log, env=environment)
        self.since = time.monotonic()

    def hivq(self, *arguments):
        return subprocess.run([self.programs / "hivq", *arguments], capture_output=True, text=True, timeout=120, cwd=self.folder)

    def faults(self):
        while not self.ending.wait(self.chance.uniform(60, 240)):
            # Coordinators live long enough for their memory to show.
            what = self.chance.choice(("kill", "end") + ("gang",) * 8)
            if what == "gang":
                ranks = subprocess.run(["pgrep", "-f", f"hivq-worker.*{self.data}"], capture_output=True, text=True).stdout.split()
                if ranks:
                    os.kill(int(self.chance.choice(ranks)), signal.SIGKILL)
                    self.count("gangs_killed")
                continue
            self.process.send_signal(signal.SIGKILL if what == "kill" else signal.SIGTERM)
            self.process.wait(120)
            self.count("kills" if what == "kill" else "ends")
            time.sleep(self.chance.uniform(0, 5))
            self.start()

    # ---- Load ----

    def programs_of_users(self, number, token):
        os.environ["SSL_CERT_FILE"] = str(self.data / "keys" / "tls.crt")
        client = hivq.Client(f"https://127.0.0.1:{self.ports[1]}", token=token)
        chance = random.Random(number)
        while not self.ending.is_set():
            try:
                study = client.study(f"soak-{number}-{int(time.time())}", trials=50)
                while not self.ending.is_set():
                    trial = study.ask(timeout=60)
                    if trial is None:
                        break
                    trial.suggest_float("x", 0, 1)
                    told = {}
                    for step in range(1, 11):
                        told[step] = chance.random()
                        trial.report(told[step], step)
                        self.count("reports")
                        self.ending.wait(0.2)
                    trial.end(told[10])
                    with self.lock:
                        self.kept[trial.id] = told
                    self.count("trials")
            except hivq.Error as error:
                self.problems.append(f"user {number}: {error}")
                self.ending.wait(1)

    def sweeps(self):
        number = 0
        while not self.ending.is_set():
            number += 1
            (self.folder / "sweep.yaml").write_text(SWEEP.format(number=number))
            done = self.hivq("submit", "sweep.yaml", "--watch", "--data", self.data)
            if done.returncode == 0:
                self.count("sweeps")
            elif not self.ending.is_set():
                self.problems.append("sweep: " + done.stderr[-300:])
            self.ending.wait(20)

    def strangers(self):
        while not self.ending.wait(self.chance.uniform(0, 0.5)):
            try:
                with socket.create_connection(("127.0.0.1", self.chance.choice(self.ports)), timeout=5) as one:
                    one.sendall(os.urandom(self.chance.randrange(1, 2000)) if self.chance.random() < 0.8 else b"")
                    if self.chance.random() < 0.1:
                        self.ending.wait(7)
                self.count("strangers")
            except OSError:
                pass

    # ---- What is seen ----

    def memory_of_now(self):
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1000
        except (OSError, StopIteration):
            return None

    def watch(self, minutes):
        next_line = 0
        while (passed := (time.monotonic() - self.started) / 60) < minutes:
            if (now := self.memory_of_now()) is not None:
                self.memory.append((passed, (time.monotonic() - self.since) / 60, now))
            if passed >= next_line:
                next_line += 1
                with self.lock:
                    print(f"{passed:5.1f} min  {now or 0:6.1f} MB  " + "  ".join(f"{k} {v}" for k, v in self.counts.items()), flush=True)
            time.sleep(2)

    def check(self, token):
        """Every value that a user was told is stored is there, once."""
        client = hivq.Client(f"https://127.0.0.1:{self.ports[1]}", token=token)
        lost = 0
        for trial, told in self.kept.items():
            curves = client.trial(trial).curves()
            curve = curves[next(name for name in curves if not name.startswith("time"))]
            stored = dict(zip(list(curve.steps), list(curve.values)))
            lost += sum(1 for step, value in told.items() if stored.get(step) != value)
        return lost

    def run(self, minutes, users):
        self.start()
        until(lambda: self.hivq("list", "--data", self.data).returncode == 0, 60)
        self.hivq("keys", "add", "soak", "--role", "submitter", "--data", self.data, "--out", "soak.json")
        token = self.hivq("keys", "token", "--key", "soak.json").stdout.strip()
        threads = [threading.Thread(target=self.programs_of_users, args=(i, token)) for i in range(users)]
        threads += [threading.Thread(target=each) for each in (self.faults, self.sweeps, self.strangers)]
        for each in threads:
            each.start()
        self.watch(minutes)
        self.ending.set()
        for each in threads:
            each.join()
        if self.process.poll() is not None:
            self.start()
        until(lambda: self.hivq("list", "--data", self.data).returncode == 0, 60)
        lost = self.check(token)
        self.process.send_signal(signal.SIGTERM)
        ended = self.process.wait(120)
        whole = subprocess.run([self.programs / "hivq-coordinator", "verify", "--data", self.data], capture_output=True, text=True)
        # A fresh process has less to remember; RocksDB's write buffers take some minutes to fill for the first time.
        grown = [now for passed, age, now in self.memory if age >= min(5, minutes / 4)]
        third = max(1, len(grown) // 3)
        first, last = median(grown[:third]), median(grown[-third:])
        points = sum(len(told) for told in self.kept.values())
        print(f"\n{minutes} min, {users} users: {self.counts}")
        print(f"acknowledged points {points}, lost {lost}; trials {len(self.kept)}; errors that users saw {len(self.problems)}")
        print(f"memory of the coordinator: {first:.0f} MB in the first third, {last:.0f} MB in the last, at most {max(grown):.0f} MB")
        print(f"ended with {ended}; verify: {whole.stdout.strip().splitlines()[-1] if whole.stdout.strip() else whole.stderr.strip()}")
        for problem in self.problems[:10]:
            print("  " + problem)
        return 0 if lost == 0 and ended == 0 and whole.returncode == 0 and last < 1.5 * first + 20 else 1


def median(values):
    return sorted(values)[len(values) // 2]


def until(look, seconds):
    end = time.monotonic() + seconds
    while not look():
        if time.monotonic() > end:
            raise SystemExit(f"not ready within {seconds} s")
        time.sleep(0.2)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--users", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bin", type=Path, default=Path("build/release/bin"))
    line = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hivq-soak-"))
    print(f"everything lies in {folder}; seed {line.seed}", flush=True)
    sys.exit(Soak(folder, line.bin.resolve(), line.seed).run(line.minutes, line.users))


if __name__ == "__main__":
    main()
