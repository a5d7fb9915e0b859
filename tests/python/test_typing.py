import subprocess
import sys
from pathlib import Path

import hivq
import pytest

PACKAGE = Path(__file__).parents[2] / "jobs" / "python"


def test_the_package_passes_mypy_strict(tmp_path):
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", PACKAGE / "pyproject.toml", "--cache-dir", tmp_path, PACKAGE / "src"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_whoever_imports_the_package_sees_its_types(tmp_path):
    pytest.importorskip("mypy")
    assert (Path(hivq.__file__).parent / "py.typed").exists()
    script = tmp_path / "script.py"
    script.write_text("import hivq\n\njob = hivq.Client().job(3)\nreveal_type(job.best().trained)\njob.wait(until=3)\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", script]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert "float" in ran.stdout and 'Unexpected keyword argument "until"' in ran.stdout and "Found 1 error" in ran.stdout
