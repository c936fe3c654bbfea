"""What `make` and CI do holds in any directory, for any user."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_directory_may_have_spaces_in_its_name(tmp_path):
    """The words of `make run` in such a place: each path that is made of it is one word."""
    place = tmp_path / "a b"
    place.mkdir()
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, place)
    done = subprocess.run(["make", "-n", "run"], cwd=place, capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stdout.replace("\\\n", "").splitlines() if "faasd-py up" in line]
    for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "PATH"):
        assert re.search(rf'\b{name}="{re.escape(str(place))}/[^"]+"', line), line


def test_every_target_is_explained():
    """In the first lines of the Makefile."""
    text = (ROOT / "Makefile").read_text()
    head, targets = text.partition("\n\n")[0], re.search(r"(?m)^\.PHONY: (.+)$", text)[1].split()
    assert [name for name in targets if f"make {name}" not in head] == []


def test_scripts_parse():
    """CI's own, by the shell that runs it."""
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)


def test_what_is_skipped_says_why():
    """Also where a queue skips in the middle of its own nursery: CI lets pass only what a backend has not."""
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "tests/queue/test_conformance.py",
        "-k",
        "TestMemory and accepted_is_there",
    ]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert line.endswith(": the backend has no durable"), line
