#!/usr/bin/env python3
"""Checks the Markdown pages: each link to a file or a heading of the repository leads somewhere, each folder that a newcomer meets has a
page that begins with a title and a sentence, and pages, which are also read in a terminal, have no line of more than 120 columns
outside of tables and code; that of the repository, which is read in a browser, has some more.

    check_docs.py ROOT          checks the pages below ROOT; prints `file:line: …` for each broken rule
    check_docs.py --self-test   checks that the check finds each kind of broken rule
"""
import pathlib
import re
import sys
import tempfile
import urllib.parse

FOLDERS = ("", "common", "jobs", "jobs/search", "jobs/python", "cluster", "coordinator", "coordinator/http", "worker", "tests",
           "helm", "tests/kubernetes")
WIDEST, WIDEST_AT_ROOT = 120, 160  # columns
LEFT_OUT = {"build", "node_modules", "venv"}

CODE = re.compile(r"`[^`]*`")
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.*?)\s*#*$")


def pages(root):
    """Every page of the repository, without those of what was built or fetched."""
    for path in sorted(root.rglob("*.md")):
        parts = path.relative_to(root).parts
        if not any(part.startswith(".") or part in LEFT_OUT for part in parts[:-1]):
            yield path


def prose(text):
    """Numbered lines that are neither in a fenced block nor code by their indentation."""
    fenced, before = False, ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        indented = line.startswith("    ") and (before == "" or before.startswith("    "))
        if not fenced and not indented:
            yield number, line
        before = line


def anchors(text):
    """The names of a page's headings, as GitHub makes them."""
    for _, line in prose(text):
        if match := HEADING.match(line):
            words = re.sub(r"[^\w\- ]", "", match[1].replace("`", "").lower())
            yield words.replace(" ", "-")


def broken_link(root, page, link):
    """Why a link leads nowhere, or nothing."""
    if re.match(r"[a-z][a-z0-9+.-]*:", link):
        return None  # another site
    place, _, anchor = urllib.parse.unquote(link).partition("#")
    target = (page.parent / place).resolve() if place else page
    if not target.is_relative_to(root):
        return f"{link} leads out of the repository"
    if not target.exists():
        return f"there is no {target.relative_to(root)}"
    if anchor and target.suffix == ".md" and anchor not in anchors(target.read_text()):
        return f"{target.relative_to(root)} has no heading #{anchor}"
    return None


def check(root):
    root = root.resolve()
    found, links = [], 0
    for folder in FOLDERS:
        page = root / folder / "README.md"
        if not page.exists():
            found.append(f"{pathlib.Path(folder) / 'README.md'}:1: the folder has no page")
            continue
        lines = page.read_text().splitlines()
        if len(lines) < 3 or not lines[0].startswith("# ") or lines[1] or not re.match(r"[A-Za-z`\[*]", lines[2]):
            found.append(f"{page.relative_to(root)}:1: a page begins with a title, an empty line, and a sentence on what it is about")
    for page in pages(root):
        text = page.read_text()
        name = page.relative_to(root)
        widest = WIDEST if name.parent.parts else WIDEST_AT_ROOT
        for number, line in prose(text):
            if len(line) > widest and not line.startswith(("|", "    ")):
                found.append(f"{name}:{number}: {len(line)} columns; the most is {widest}")
            for link in LINK.findall(CODE.sub("``", line)):
                links += 1
                if why := broken_link(root, page, link):
                    found.append(f"{name}:{number}: {why}")
    return found, links


def self_test():
    good = "# a page\n\nWhat it is about: [the other](common/README.md), [there](common/README.md#a-part-of-it), [out](https://x.y).\n"
    broken = {
        "worker/README.md": "what it is about\n",
        "a.md": "[x](nothing.md)\n",
        "b.md": "[x](common/README.md#nothing)\n",
        "c.md": "[x](../elsewhere.md)\n",
        "coordinator/d.md": "long " * 25 + "\n",
        "e.md": "![a picture](nothing.svg)\n",
    }
    fine = {
        "README.md": good,
        "f.md": "`[x](nothing.md)`\n\n    [x](nothing.md)\n\n```\n[x](nothing.md)\n```\n" + "| " + "wide " * 40 + "|\n",
        "common/README.md": "# common\n\nA sentence.\n\n## A part: of `it`\n",
        "build/x.md": "[x](nothing.md)\n",
    }
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name in FOLDERS[1:]:
            (root / name).mkdir(parents=True, exist_ok=True)
            (root / name / "README.md").write_text("# x\n\nA sentence.\n")
        for name, text in {**broken, **fine}.items():
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text(text)
        (root / "tests/README.md").unlink()
        found, _ = check(root)
    missed = {name for name in [*broken, "tests/README.md"] if not any(line.startswith(name + ":1: ") for line in found)}
    wrong = [line for line in found if line.split(":")[0] in fine]
    if missed or wrong:
        sys.exit(f"missed: {sorted(missed)}; wrong: {wrong}")
    print(f"each of {len(broken) + 1} broken rules was found")


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    found, links = check(pathlib.Path(sys.argv[1]))
    print("\n".join(found) or f"all {links} links lead somewhere, and each folder has its page")
    sys.exit(1 if found or links < 20 else 0)


if __name__ == "__main__":
    main()
