#!/usr/bin/env python3
"""Times one sweep of many short trials by hivq, by Optuna with a PyTorch process a trial, and by Ray Tune.

    python3 -m venv V && V/bin/pip install torch==2.11.0 numpy optuna==5.0.0 'ray[tune]==2.60.0'
    V/bin/python tests/e2e/reference/sweep_compare.py [--bin build/release/bin] [--trials 100] [--engines hivq,optuna,ray]

All train sweep.yaml's model on the same images with the same backbone for as many steps, and score the same test images. Two
trials run at once, each on one thread: hivq has two gangs of a rank, Optuna two jobs, Ray two CPUs. The learning rate is drawn at
random. The PyTorch trial is a well-written one: features come from a file that the first trial has made, and the model is `Batched` of
tests/worker/reference. Prints a Markdown table; each engine's time is from its start to its end, everything included.
"""
import argparse
import gzip
import json
import math
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
IMAGES = pathlib.Path("/usr/share/datasets/fashion-mnist")
NORMAL, PER_CLASS, BATCH = 5, 100, 16
LOWEST, HIGHEST = 1e-4, 1e-2  # of the learning rate


# ---- The trial in PyTorch


def read_idx(name, header):
    import numpy
    with gzip.open(IMAGES / name) as file:
        data = numpy.frombuffer(file.read(), numpy.uint8)[header:]
    return data.reshape(-1, 28, 28) if header == 16 else data


def first_of_classes(part, classes, count):
    import numpy
    images, labels = read_idx(f"{part}-images-idx3-ubyte.gz", 16), read_idx(f"{part}-labels-idx1-ubyte.gz", 8)
    chosen = numpy.concatenate([numpy.flatnonzero(labels == c)[:count] for c in range(classes)])
    return images[chosen], labels[chosen]


def pretrained_backbone():
    import torch
    from efficientnet import efficientnet_lite0
    backbone = efficientnet_lite0()
    given = [t for name, t in torch.load(ROOT / ".deps/weights/efficientnet-lite0.pth").items() if "num_batches" not in name]
    own = [t for name, t in backbone.state_dict().items() if "num_batches" not in name]
    for mine, theirs in zip(own, given):  # both in the order of the layers; the given ones go on beyond the last tap
        assert mine.shape == theirs.shape
        mine.copy_(theirs)
    return backbone


def features(folder, test_per_class):
    """Train features and labels, test features and whether each is anomalous; from a file where there is one."""
    import torch
    import torch.nn.functional as F
    path = pathlib.Path(folder) / "features.pt"
    if path.exists():
        return torch.load(path)
    backbone, sets = pretrained_backbone(), []
    for part, classes, count in (("train", NORMAL, PER_CLASS), ("t10k", 10, test_per_class)):
        images, labels = first_of_classes(part, classes, count)
        pixels = torch.from_numpy(images.copy()).float().unsqueeze(1).expand(-1, 3, -1, -1) / 255
        pixels = (F.interpolate(pixels, (64, 64), mode="bilinear", antialias=True) - 0.5) / 0.5
        with torch.no_grad():
            h0 = torch.cat([backbone(batch).flatten(2).transpose(1, 2) for batch in pixels.split(64)])
        sets += [h0.contiguous(), torch.from_numpy(labels.copy()).long()]
    part = path.with_name(f"features.{os.getpid()}")
    torch.save(sets, part)
    os.rename(part, path)
    return sets


def auroc(scores, anomalous):
    order = scores.argsort()
    ranks = scores.new_zeros(len(scores))
    ranks[order] = scores.new_tensor(range(1, len(scores) + 1))
    positives = anomalous.sum()
    return ((ranks[anomalous].sum() - positives * (positives + 1) / 2) / (positives * (len(scores) - positives))).item()


def train(lr, folder, epochs, test_per_class):
    """One trial: its AUROC after training."""
    sys.path.insert(0, str(ROOT / "tests" / "worker" / "reference"))
    import dataclasses
    import torch
    from hvq_trans import Batched
    from torch_step import PRESETS, train_step
    torch.set_num_threads(1)
    h0, labels, test, test_labels = features(folder, test_per_class)
    torch.manual_seed(0)
    model = Batched(dataclasses.replace(PRESETS["quick"], lr=lr, pot=0))
    optimizer = model.make_optimizer()
    for _ in range(epochs):
        for chosen in torch.randperm(len(h0)).split(BATCH):
            losses, _ = train_step(model, optimizer, h0[chosen], labels[chosen])
            losses["total"].item()  # to be reported
    model.eval()
    scores = []
    with torch.no_grad():
        for batch in test.split(64):
            classes = model.classify(batch.mean(1)).argmax(1)
            scores.append((model.reconstruct(batch, classes)[0] - batch).square().sum(2).sqrt().mean(1))
    return auroc(torch.cat(scores), test_labels >= NORMAL)


# ---- The engines


def with_hivq(args, folder):
    command = [args.bin / "hivq", "run", HERE / "sweep.yaml", "--data", folder, "--gangs", "2", "--ranks", "1", "--json",
               "--set", f"sweep.trials={args.trials}", "--set", f"data.test_per_class={args.test_per_class}"]
    for field in ("epochs", "eval_every", "checkpoint_every"):
        command += ["--set", f"train.{field}={args.epochs}"]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True,
                          env=dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1"))
    seconds = time.perf_counter() - begin
    if done.returncode != 0:
        sys.exit(f"hivq failed:\n{done.stdout}\n{done.stderr}")
    rows = subprocess.run([args.bin / "hivq", "query", "SELECT auroc FROM trials_of_1 WHERE state = 'finished'", "--json",
                           "--data", folder], capture_output=True, text=True, check=True).stdout
    return seconds, [json.loads(line)["auroc"] for line in rows.splitlines()]


def with_optuna(args, folder):
    import optuna
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    begin = time.perf_counter()

    def objective(trial):
        lr = trial.suggest_float("lr", LOWEST, HIGHEST, log=True)
        command = [sys.executable, __file__, "--trial", str(lr), "--folder", folder, "--epochs", str(args.epochs),
                   "--test-per-class", str(args.test_per_class)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True,
                                    env=dict(os.environ, OMP_NUM_THREADS="1")).stdout)

    storage = f"sqlite:///{folder}/optuna.db"
    study = optuna.create_study(direction="maximize", storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=args.trials, n_jobs=2)
    return time.perf_counter() - begin, [trial.value for trial in study.trials if trial.value is not None]


def with_ray(args, folder):
    begin = time.perf_counter()
    import ray
    from ray import tune
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    path, epochs, test_per_class = str(HERE), args.epochs, args.test_per_class

    def trainable(config):
        sys.path.insert(0, path)
        import sweep_compare
        return {"auroc": sweep_compare.train(config["lr"], folder, epochs, test_per_class)}

    tuner = tune.Tuner(tune.with_resources(trainable, {"cpu": 1}),
                       param_space={"lr": tune.loguniform(LOWEST, HIGHEST)},
                       tune_config=tune.TuneConfig(num_samples=args.trials, metric="auroc", mode="max"),
                       run_config=tune.RunConfig(storage_path=f"{folder}/ray", verbose=0))
    results = tuner.fit()
    seconds = time.perf_counter() - begin
    values = [result.metrics["auroc"] for result in results if result.metrics and "auroc" in result.metrics]
    ray.shutdown()
    return seconds, values


ENGINES = {"hivq": with_hivq, "optuna": with_optuna, "ray": with_ray}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build" / "release" / "bin")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=1, help="of 500 images, 32 steps")
    parser.add_argument("--test-per-class", type=int, default=20, help="of ten classes")
    parser.add_argument("--engines", default="hivq,optuna,ray")
    parser.add_argument("--trial", type=float, help="one trial in PyTorch, by its learning rate")
    parser.add_argument("--folder")
    args = parser.parse_args()
    if args.trial is not None:
        print(train(args.trial, args.folder, args.epochs, args.test_per_class))
        return
    measured = {}
    for name in args.engines.split(","):
        folder = tempfile.mkdtemp(prefix=f"sweep-{name}-")
        try:
            seconds, values = ENGINES[name](args, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if len(values) != args.trials:
            sys.exit(f"{name}: only {len(values)} of {args.trials} trials ended well")
        measured[name] = seconds, values
        print(f"{name}: {seconds:.1f} s", file=sys.stderr, flush=True)
    ours = measured.get("hivq", (math.nan,))[0]
    print("| engine | time | a trial | hivq is faster by | AUROC: median, best |\n|---|---|---|---|---|")
    for name, (seconds, values) in measured.items():
        print(f"| {name} | {seconds:.1f} s | {seconds / args.trials:.2f} s | {seconds / ours:.1f} | "
              f"{statistics.median(values):.3f}, {max(values):.3f} |")


if __name__ == "__main__":
    main()
