#!/usr/bin/env python3
"""Times a training step of HVQ-Trans in PyTorch, in two programs: what hivq's step (step_bench.cpp) is compared with.

    torch_step.py --program authors [--preset quick] [--device cuda] [--threads 2] [--steps 20]
    torch_step.py --program batched [--compile] [--dtype bf16] …
    torch_step.py --check

authors: in the manner of the authors' code (github.com/RuiyingLu/HVQ-Trans). The backbone runs in every step;
    codebooks, transport and heads are loops over the images of the batch, which read each label off the device.
batched: PyTorch at its best. Features come from a cache, a level is one batched product with the codebooks of the
    images' classes, attention and optimiser are fused, the host waits for the device once a step.

Both compute what hivq computes (objective.cpp, quantizer.cpp): Eq. 1, and one update a step of each class's codebooks.
(The authors' own code updates image by image, and trains without transport and classifier.) `--check` shows it: losses,
gradients, parameters and codebooks after one step against model.safetensors and each other's, in float64.

Needs torch; the check safetensors, too. Image i is of class i modulo the classes, as in step_bench.cpp. The report is a
line of JSON; `threads` are PyTorch's, on the CPU.
"""
import argparse
import dataclasses
import json
import pathlib
import statistics
import sys
import time

import torch
import torch.nn as nn

from efficientnet import efficientnet_b4, efficientnet_lite0
from hvq_trans import Authors, Batched, Setting

GOLDEN_FILE = pathlib.Path(__file__).parent.parent / "golden" / "model.safetensors"
TOLERANCE = 1e-8

PRESETS = {
    "paper": Setting(272, 14, 256, 4, 8, 1024, 15, 512),  # mvtec.yaml
    "quick": Setting(192, 4, 64, 2, 4, 128, 5, 64, decay=0.9, lr=1e-3),  # quick.yaml, last row
}
GOLDEN = Setting(5, 2, 4, 2, 2, 6, 3, 4, batch=5, dropout=0, decay=0.9, lr=1e-3, weight_decay=1e-2, classification=0.7)
BACKBONES = {"paper": efficientnet_b4, "quick": efficientnet_lite0}
PROGRAMS = {"authors": Authors, "batched": Batched}


def train_step(model, optimizer, h0, classes, precision=torch.float32):
    """classes: on the host, as a loader hands them out."""
    with torch.autocast(h0.device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
        losses, seen = model.objective(h0, classes.to(h0.device, non_blocking=True))
    model.zero_grad()
    losses["total"].backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), model.setting.clip)
    optimizer.step()
    model.update_codebooks(seen, classes)
    return losses, norm


def state_of(model):
    return {name: view(tensor.detach()).clone() for name, tensor, view in model.entries()}


def recorded_step(program, setting, before, h0, classes):
    """Losses, gradients and the state after one step from `before`, by the names in model.safetensors."""
    model = PROGRAMS[program](setting)
    with torch.no_grad():
        for name, tensor, view in model.entries():
            view(tensor).copy_(before[name])
    model.refresh()
    if program == "authors":
        h0 = h0.transpose(1, 2).unflatten(2, (setting.grid, setting.grid))
    losses, norm = train_step(model, model.make_optimizer(), h0, classes)
    factor = max(norm.item() + 1e-6, setting.clip) / setting.clip  # gradients as they were before the clip
    record = {f"loss.{name}": loss.detach() for name, loss in losses.items()} | {"grad_norm": norm}
    record |= {f"grad.{name}": view(tensor.grad) * factor for name, tensor, view in model.entries()
               if isinstance(tensor, nn.Parameter)}
    return record | {f"after.{name}": value for name, value in state_of(model).items()}


def agree(what, record, expected):
    if record.keys() != expected.keys():
        print(f"{what}: only one of the two has {', '.join(sorted(record.keys() ^ expected.keys()))}")
        return False
    far = {name: ((record[name] - e).abs().max() / e.abs().max().clamp_min(1)).item() for name, e in expected.items()}
    worst = max(far, key=lambda name: far[name] if far[name] == far[name] else float("inf"))
    good = all(deviation <= TOLERANCE for deviation in far.values())  # a NaN is not
    print(f"{what}: {len(far)} tensors, the farthest {worst} by {far[worst]:.1e}: {'agrees' if good else 'DIFFERS'}")
    return good


def check():
    from safetensors.torch import load_file
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    golden = {name.removeprefix("full."): t for name, t in load_file(GOLDEN_FILE).items() if name.startswith("full.")}
    expected = {name: t for name, t in golden.items() if name.startswith(("loss.", "grad", "after."))}
    before = {name.removeprefix("before."): t for name, t in golden.items() if name.startswith("before.")}
    good = True
    for program in PROGRAMS:
        record = recorded_step(program, GOLDEN, before, golden["h0"], golden["classes"])
        good &= agree(f"{program} with model.safetensors", record, expected)

    quick = dataclasses.replace(PRESETS["quick"], dropout=0)
    h0 = torch.randn(quick.batch, quick.grid**2, quick.channels)
    classes = torch.randint(quick.classes - 1, (quick.batch,))  # the last class is absent
    before = state_of(Authors(quick))
    authors, batched = (recorded_step(program, quick, before, h0, classes) for program in PROGRAMS)
    return agree("batched with authors, preset quick", batched, authors) and good


def prepared_step(args, setting):
    """The step as a function without arguments, which waits for its result."""
    device, images = torch.device(args.device), torch.arange(setting.batch)
    model = PROGRAMS[args.program](setting).to(device)
    optimizer, classes = model.make_optimizer(), images % setting.classes
    if args.program == "authors":
        backbone = BACKBONES[args.preset]().to(device)
        pixels = torch.randn(setting.batch, 3, 16 * setting.grid, 16 * setting.grid, device=device)

        def step():
            with torch.no_grad():
                features = backbone(pixels)
            train_step(model, optimizer, features, classes)
    else:
        cache = torch.randn(2 * setting.batch, setting.grid**2, setting.channels, device=device)
        if args.compile:
            model.objective = torch.compile(model.objective)
        precision = torch.bfloat16 if args.dtype == "bf16" else torch.float32

        def step():
            h0 = cache.index_select(0, images.to(device, non_blocking=True))
            losses, norm = train_step(model, optimizer, h0, classes, precision)
            torch.stack([*losses.values(), norm]).tolist()
    return step


def measure(args):
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    setting = dataclasses.replace(PRESETS[args.preset], batch=args.batch)
    step, seconds = prepared_step(args, setting), []
    wait = torch.cuda.synchronize if args.device == "cuda" else lambda: None
    for _ in range(args.warmup + args.steps):
        wait()
        start = time.perf_counter()
        step()
        wait()
        seconds.append(time.perf_counter() - start)
    seconds = seconds[args.warmup:]
    median = statistics.median(seconds)
    device = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    asked = ("program", "preset", "batch", "dtype", "compile", "threads", "steps")
    report = {name: getattr(args, name) for name in asked}
    print(json.dumps(report | {"device": device, "step_seconds": median, "min": min(seconds),
                               "images_per_second": args.batch / median, "torch": torch.__version__}))


def main():
    parser = argparse.ArgumentParser(description="Times a training step of HVQ-Trans in PyTorch.")
    parser.add_argument("--program", choices=PROGRAMS)
    parser.add_argument("--preset", choices=PRESETS, default="paper")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bf16"], default="float32", help="bf16: autocast; batched only")
    parser.add_argument("--compile", action="store_true", help="torch.compile the objective; batched only")
    for name, default in (("threads", 1), ("batch", 16), ("steps", 20), ("warmup", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if args.check:
        if args.compile:  # pytorch/pytorch#185539: compiled attention has no way back in float64 on the CPU
            parser.error("--check is of the programs without --compile")
        sys.exit(0 if check() else 1)
    if args.program is None:
        parser.error("name a --program, or --check")
    if args.program == "authors" and (args.compile or args.dtype != "float32"):
        parser.error("--compile and --dtype bf16 are for --program batched")
    if args.warmup < 0 or min(args.threads, args.batch, args.steps) < 1:
        parser.error("--threads, --batch and --steps are at least 1, --warmup at least 0")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch sees no CUDA device")
    measure(args)


if __name__ == "__main__":
    main()
