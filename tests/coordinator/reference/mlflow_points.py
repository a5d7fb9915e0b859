#!/usr/bin/env python3
"""Metric points per second that MLflow's tracking server keeps, beside hivq's store, measured in one run on one disk.

    python3 -m venv V && V/bin/pip install mlflow
    V/bin/python mlflow_points.py path/to/bench_coordinator [--seconds 20] [--folder DIR]

MLflow: `mlflow server` with its SQLite store, one client, MlflowClient.log_batch of 1,000 points (its largest), which
returns when they are committed. hivq: the benchmark ThroughTheCore, 16 reports of 64 points a synced commit. Prints both
and their ratio; exit code 1 where the ratio is below 50.
"""
import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def mlflow_rate(folder, seconds):
    import mlflow
    from mlflow.entities import Metric

    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
         "--artifacts-destination", f"{folder}/artifacts", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
        stdout=open(f"{folder}/mlflow.log", "w"), stderr=subprocess.STDOUT, start_new_session=True)
    try:
        client = mlflow.MlflowClient(tracking_uri=f"http://127.0.0.1:{port}")
        for _ in range(240):
            try:
                experiment = client.create_experiment("points")
                break
            except Exception:
                if server.poll() is not None:
                    raise
                time.sleep(0.5)
        run = client.create_run(experiment).info.run_id
        step = points = 0
        begin = None
        while begin is None or time.monotonic() - begin < seconds:
            now = int(time.time() * 1000)
            batch = [Metric(name, 1.0 / (step + i + 1), now, step + i)
                     for i in range(250) for name in ("loss", "lr", "grad_norm", "commitment")]
            client.log_batch(run, metrics=batch)
            step += 250
            if begin is None:  # the first one warms up
                begin = time.monotonic()
            else:
                points += len(batch)
        return points / (time.monotonic() - begin), mlflow.__version__
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def hivq_rate(bench, folder):
    report = os.path.join(folder, "bench.json")
    subprocess.run([bench, "--benchmark_filter=ThroughTheCore/16", "--benchmark_min_time=3", f"--benchmark_out={report}"],
                   env={**os.environ, "HIVQ_BENCH_DIR": folder}, capture_output=True, check=True)
    with open(report) as file:
        return json.load(file)["benchmarks"][0]["points/s"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bench")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        ours = hivq_rate(options.bench, folder)
        theirs, version = mlflow_rate(folder, options.seconds)
        again = hivq_rate(options.bench, folder)
    print(f"MLflow {version}: {theirs:.0f} points/s; hivq: {ours:.0f} before it and {again:.0f} after it; "
          f"{min(ours, again) / theirs:.0f} times as many")
    return 0 if min(ours, again) >= 50 * theirs else 1


if __name__ == "__main__":
    sys.exit(main())
