#!/usr/bin/env python3
"""Checks the direction of every #include: which folder may include which, and where each library enters. Checks also
that a type outside of unnamed namespaces is defined once: of two by one name the linker takes either, and says nothing.

    check_includes.py ROOT          checks the sources below ROOT; prints `file:line: …` for each broken rule
    check_includes.py --self-test   checks that the check finds each kind of broken rule
"""
import collections
import pathlib
import re
import sys
import tempfile

FOLDERS = {
    "common": set(),
    "jobs": {"common"},
    "cluster": {"common", "jobs"},
    "coordinator": {"common", "jobs", "cluster"},
    "worker": {"common", "jobs"},
}

# A library's headers, and the files (by the start of their path) that may include them.
LIBRARIES = {
    r"rocksdb/": ["coordinator/store"],
    r"zmq": ["common/transport"],
    r"msgpack": ["common/wire"],
    r"nccl\.h": ["worker/collective/"],
    r"cuda_runtime": ["worker/"],
    r"nvrtc": ["worker/gpu/"],
    r"mpi\.h": ["worker/"],
    r"(torch|ATen|c10)/": ["worker/"],
    r"yaml-cpp/": ["jobs/"],
    r"httplib": ["coordinator/http/", "cluster/kubernetes"],
    r"Eigen/": ["jobs/search/"],
    r"(arrow|parquet)/": ["jobs/cli/parquet.cpp"],
    r"openssl/": ["common/", "coordinator/http/tls.", "coordinator/http/connection."],
    r"spng\.h": ["worker/data/image/png.cpp"],
    r"(jpeglib|jerror)\.h": ["worker/data/image/jpeg.cpp"],
    r"archive": ["worker/data/tar.cpp"],
    r"tiff": ["worker/data/image/tiff.cpp"],
    r"CLI/": ["jobs/", "coordinator/main.cpp", "worker/main.cpp", "worker/commands/"],
    r"cairo/": ["worker/figures/canvas.cpp", "jobs/cli/png.cpp"],
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
NAMESPACE = re.compile(r"^(?:inline )?namespace\s*([\w:]*)\s*\{(?!.*\})")
NAMESPACE_END = re.compile(r"^\}\s*//\s*namespace")
TYPE = re.compile(r"^(?:struct|class|enum class|enum|union) (?:alignas\(.*?\) )?(\w+)(?![\w<]|::)[^;]*$")  # neither `struct A;` nor A::B, A<B>


def problem(path, quote, header):
    """What is wrong with a file's include, or nothing."""
    folder = path.split("/")[0]
    target = header.split("/")[0]
    if quote == '"':
        if "/" in header and target in FOLDERS and target != folder and target not in FOLDERS[folder]:
            allowed = ", ".join(sorted(FOLDERS[folder])) or "no other folder"
            return f"{folder}/ may not include {header}; it may include {allowed}"
        if not header.startswith(tuple(f"{name}/" for name in FOLDERS)):
            return f'"{header}" does not start with a folder of the project'
        return None
    for pattern, doors in LIBRARIES.items():
        if re.match(pattern, header) and not path.startswith(tuple(doors)):
            return f"<{header}> may only be included in {', '.join(doors)}"
    return None


def types(lines):
    """The line and the full name of each type that other files can see. Namespaces' contents are not indented."""
    namespaces = []
    for number, line in enumerate(lines, 1):
        if match := NAMESPACE.match(line):
            namespaces.append(match[1])
        elif NAMESPACE_END.match(line):
            namespaces.pop()
        elif (match := TYPE.match(line)) and "" not in namespaces:
            yield number, "::".join([*namespaces, match[1]])


def sources(root, folders):
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".h", ".cpp", ".cu", ".cuh"):
                yield path.relative_to(root).as_posix(), path.read_text().splitlines()


def check(root):
    found, files, defined = [], 0, collections.defaultdict(list)
    for name, lines in sources(root, [*FOLDERS, "tests"]):
        for number, type_name in types(lines):
            defined[type_name].append(f"{name}:{number}")
        if name.startswith("tests/"):
            continue
        files += 1
        for number, line in enumerate(lines, 1):
            if match := INCLUDE.match(line):
                if text := problem(name, *match.groups()):
                    found.append(f"{name}:{number}: {text}")
    for type_name, (first, *others) in defined.items():
        found += [f"{place}: {type_name} is defined in {first} too; give one another name" for place in others]
    return found, files


def self_test():
    broken = {
        "common/a.h": '#include "jobs/spec.h"',
        "jobs/a.cpp": '#include "coordinator/core.h"',
        "cluster/a.cpp": '#include "coordinator/store.h"',
        "worker/a.cpp": '#include "coordinator/core.h"',
        "worker/b.cpp": '#  include <rocksdb/db.h>',
        "coordinator/core.cpp": "#include <torch/torch.h>",
        "coordinator/server.cpp": "#include <zmq.h>",
        "jobs/b.cpp": '#include "spec.h"',
        "worker/same.h": "struct Same {",
    }
    good = {
        "coordinator/store.cpp": "#include <rocksdb/db.h>",
        "coordinator/a.cpp": '#include "cluster/launcher.h"\n#include <zlib.h>',
        "worker/c.cpp": '#include "jobs/spec.h"\n#include <torch/torch.h>',
        "common/same.h": "struct Same {\n};\nstruct Other;\nstruct Same::State {\n};",
        "worker/d.cpp": "namespace {\nstruct Same {\n};\n}  // namespace",
        "worker/e.cpp": "namespace x {\nstruct Same;\nclass Same;\n}  // namespace x\nstruct Same<void> {\n};",
    }
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in {**broken, **good}.items():
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text(text + "\n")
        found, _ = check(root)
    missed = {name for name in broken if not any(line.startswith(name + ":1: ") for line in found)}
    wrong = [line for line in found if line.split(":")[0] in good]
    if missed or wrong:
        sys.exit(f"missed: {sorted(missed)}; wrong: {wrong}")
    print(f"each of {len(broken)} broken rules was found")


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    found, files = check(pathlib.Path(sys.argv[1]))
    print("\n".join(found) or f"the includes of {files} files keep to the arrows, and each type is defined once")
    sys.exit(1 if found or files == 0 else 0)


if __name__ == "__main__":
    main()
