#!/usr/bin/env python3
"""Runs every command of jobs/TUTORIAL.md, taken from the file itself, in a fresh folder, and checks what they made.

    tutorial.py TUTORIAL.md FOLDER-OF-THE-PROGRAMS
"""
import csv
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
import zlib


def blocks(text, language):
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def read_png(path):
    """Rows of pixels, each a tuple of samples; 8 bits a sample, not interlaced."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", path
    at, packed, header = 8, b"", None
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + body) == struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0], path
        header = struct.unpack(">IIBBBBB", body) if kind == b"IHDR" else header
        packed += body if kind == b"IDAT" else b""
        at += 12 + length
    width, height, depth, colour, _, _, interlaced = header
    assert depth == 8 and not interlaced, (path, header)
    samples = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    raw, stride = zlib.decompress(packed), width * samples
    assert len(raw) == height * (stride + 1), path
    rows, above = [], bytearray(stride)
    for y in range(height):
        kind, line = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1 : (y + 1) * (stride + 1)])
        for i in range(stride):
            left = line[i - samples] if i >= samples else 0
            corner = above[i - samples] if i >= samples else 0
            line[i] = (line[i] + predicted(kind, left, above[i], corner)) & 255
        rows.append([tuple(line[x * samples : (x + 1) * samples]) for x in range(width)])
        above = line
    return rows


def predicted(kind, left, up, corner):
    """PNG's filters, RFC 2083."""
    if kind == 4:
        estimate = left + up - corner
        return min((abs(estimate - left), 0, left), (abs(estimate - up), 1, up), (abs(estimate - corner), 2, corner))[2]
    return (0, left, up, (left + up) // 2)[kind]


def heat(pixel):
    """Of the colours from blue over green to red, how far a pixel is along: 0 to 1."""
    red, green, blue = pixel[:3]
    return (red - blue) / 510 + 0.5


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def check_heat_maps(folder):
    """The maps of the holes are hotter where the masks are than elsewhere."""
    scores = json.loads((folder / "heat/scores.json").read_text())["images"]
    kinds = {kind: [s for s in scores if f"/test/{kind}/" in s["image"]] for kind in ("hole", "good")}
    assert len(kinds["hole"]) == 4 and len(kinds["good"]) == 10, scores
    assert mean(s["score"] for s in kinds["hole"]) > mean(s["score"] for s in kinds["good"]), scores
    inside, outside = [], []
    for score in kinds["hole"]:
        pixels = read_png(folder / "heat" / score["map"])
        assert len(read_png(folder / "heat" / score["overlay"])) == len(pixels)
        truth = pathlib.Path(score["image"].replace("/test/", "/ground_truth/"))
        mask = read_png(folder / truth.with_name(truth.stem + "_mask.png"))
        assert len(mask) == len(pixels) and len(mask[0]) == len(pixels[0]), "the map is of the image's size"
        for mask_row, row in zip(mask, pixels):
            for defective, pixel in zip(mask_row, row):
                (inside if defective[0] else outside).append(heat(pixel))
    print(f"heat where the masks are {mean(inside):.3f}, elsewhere {mean(outside):.3f}")
    assert mean(inside) > mean(outside) + 0.1


def check_safetensors(path):
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    assert len(ends) > 10 and max(ends) == len(data) - 8 - length


def check(folder, run):
    trial = json.loads(run("hivq show 1/0 --json"))
    print({name: trial["final"][name] for name in ("auroc", "pixel_auroc", "pro")})
    assert trial["state"] == "finished", trial
    assert trial["final"]["auroc"] > 0.6 and trial["final"]["pixel_auroc"] > 0.6, trial["final"]
    assert trial["final"]["pixel_auroc"] > trial["initial"]["pixel_auroc"], "training finds defects"
    assert "image_size: 128" in (folder / "all-settings.yaml").read_text()
    figures = sorted((folder / ".hivq/figures/job-1").glob("*.svg"))
    assert figures
    for figure in figures:
        xml.etree.ElementTree.parse(figure)
    check_heat_maps(folder)
    for name in ("figure1.png", "figure2.png"):
        assert len(read_png(folder / "figures" / name)) > 100
    check_safetensors(folder / "model.safetensors")
    again = json.loads((folder / "again/scores.json").read_text())["images"]
    first = {s["image"]: s["score"] for s in json.loads((folder / "heat/scores.json").read_text())["images"]}
    assert all(abs(s["score"] - first[s["image"]]) < 1e-4 * abs(s["score"]) for s in again), "the export is the trial"
    with open(folder / "loss.csv", newline="") as file:
        losses = [float(row["value"]) for row in csv.DictReader(file)]
    assert len(losses) == trial["checkpoint_step"], (len(losses), trial["checkpoint_step"])
    assert mean(losses[-10:]) < mean(losses[:10])
    parquet = (folder / "trials.parquet").read_bytes()
    assert parquet[:4] == parquet[-4:] == b"PAR1"


def main():
    tutorial, programs = pathlib.Path(sys.argv[1]), sys.argv[2]
    text = tutorial.read_text()
    commands = blocks(text, "sh")
    assert len(commands) >= 5 and text.count("```sh") == len(commands), "a block of commands is not closed"
    with tempfile.TemporaryDirectory(prefix="hivq_tutorial_") as name:
        folder = pathlib.Path(name)
        environment = dict(os.environ, PATH=f"{programs}:{os.environ['PATH']}", HIVQ_DOCTOR_WAIT="60")
        for variable in ("HIVQ_COORDINATOR", "HIVQ_URL"):
            environment.pop(variable, None)

        def run(command):
            done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            return done.stdout

        for block in commands:
            begin = time.monotonic()
            print(block, flush=True)
            # Standard input is no terminal: nothing is asked.
            script = subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=folder, env=environment,
                                    stdin=subprocess.DEVNULL, timeout=900)
            assert script.returncode == 0, f"exit code {script.returncode}"
            print(f"-- {time.monotonic() - begin:.1f} s\n", flush=True)
        check(folder, run)


if __name__ == "__main__":
    main()
