#!/usr/bin/env python3
"""Times a training step of hivq beside the PyTorch programs of torch_step.py, in turns, and prints the ratios.

  tests/worker/reference/compare.py [--worker build/release/bin/hivq-worker] [--shape paper|quick] [--rounds 3] …

What is not known here is handed to both (--batch, --device, --threads). Python needs torch 2.11: set PYTHONPATH. On a
GPU: --device cuda --programs batched,compiled,authors [--bfloat16] (compiled: torch.compile; authors stays float32).
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1",
                                                                             OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1"))
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", default=os.path.join(ROOT, "build", "release", "bin", "hivq-worker"))
    parser.add_argument("--shape", default="paper", choices=["paper", "quick"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--programs", default="batched,authors")
    parser.add_argument("--ranks", type=int, default=1, help="of hivq, which share the threads and the batch")
    parser.add_argument("--bfloat16", action="store_true", help="what is multiplied, in hivq and the batched programs")
    known, rest = parser.parse_known_args()
    common = ["--steps", str(known.steps), *rest]
    launch = ["mpirun", "-np", str(known.ranks), "--oversubscribe", "--bind-to", "none"] if known.ranks > 1 else []
    commands = {"hivq": [*launch, known.worker, "bench", "--json", "--shape", known.shape, *common,
                         "--threads", str(max(1, known.threads // known.ranks))]}
    for program in known.programs.split(","):
        asked = {"compiled": ["batched", "--compile"]}.get(program, [program])
        commands[program] = [sys.executable, os.path.join(HERE, "torch_step.py"), "--preset", known.shape, *common,
                             "--threads", str(known.threads), "--program", *asked]
        if known.bfloat16 and program != "authors":
            commands[program] += ["--dtype", "bf16"]
    if known.bfloat16:
        commands["hivq"] += ["--precision", "bfloat16"]
    seconds = {name: [] for name in commands}
    peak, images = [], 0
    for round_number in range(known.rounds):
        for name, command in commands.items():
            result = run(command)
            seconds[name].append(result["step_seconds"])
            if name == "hivq":
                peak.append(result["of_peak"])
                images = result["batch"]
            print(f"round {round_number + 1}: {name:8} {1e3 * result['step_seconds']:10.1f} ms", file=sys.stderr)
    ours = statistics.median(seconds["hivq"])
    print(f"hivq: {1e3 * ours:.1f} ms a step of `{known.shape}`, {100 * statistics.median(peak):.0f} % of at::mm's rate")
    if known.shape == "paper":
        print(f"1000 epochs of MVTec-AD's 3629 images: {-(-3629 // images) * 1000 * ours / 60:.1f} min")
    for name in list(commands)[1:]:
        theirs = statistics.median(seconds[name])
        ratios = sorted(a / b for a, b in zip(seconds[name], seconds["hivq"]))
        print(f"PyTorch {name}: {1e3 * theirs:.1f} ms = {theirs / ours:.2f} times hivq's "
              f"(by round {ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
