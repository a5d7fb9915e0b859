#!/usr/bin/env python3
"""Checks that worker/README.md's map from the paper to the code is true: every file, function and test named there exists.

    check_map.py ROOT
"""
import pathlib
import re
import sys

CODE = re.compile(r"`([^`]+)`")
TEST = re.compile(r"TEST(?:_F|_P)?\((\w+), (\w+)\)")
SYMBOL = re.compile(r"^[A-Za-z_]\w*$")


def rows(text):
    """The cells of each row of the tables below `## Equations` and `## Rows of the appendix`."""
    for number, line in enumerate(text.splitlines(), 1):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) >= 3 and set(cells[0]) != {"-"}:
            yield number, cells


def check(root):
    problems, checked = [], 0
    sources = [path for folder in ("worker", "jobs") for path in (root / "tests" / folder).glob("*.cpp")]
    tests = [match for path in sources for match in TEST.findall(path.read_text())]
    for number, cells in rows((root / "worker" / "README.md").read_text()):
        file = None
        for place in CODE.findall(" ".join(cells[1:-1])):
            if place.endswith((".cpp", ".h")):
                file = root / "worker" / place
                checked += 1
                if not file.exists():
                    problems.append(f"worker/README.md:{number}: there is no worker/{place}")
            elif place.endswith(".yaml"):
                checked += 1
                if not (root / "jobs" / "specs" / place).exists():
                    problems.append(f"worker/README.md:{number}: there is no jobs/specs/{place}")
            elif file and file.exists() and SYMBOL.match(place):
                checked += 1
                if not re.search(rf"\b{place}\b", file.read_text()):
                    problems.append(f"worker/README.md:{number}: {file.name} has no {place}")
        for name in CODE.findall(cells[-1]):
            suite, _, test = name.partition(".")
            checked += 1
            if not any((s.startswith(suite[:-1]) if suite.endswith("*") else s == suite) and test in ("", "*", t)
                       for s, t in tests):
                problems.append(f"worker/README.md:{number}: there is no test {name}")
    return problems, checked


def main():
    problems, checked = check(pathlib.Path(sys.argv[1]))
    print("\n".join(problems) or f"all {checked} places and tests of the map exist")
    if problems or checked < 50:
        sys.exit(1)


main()
