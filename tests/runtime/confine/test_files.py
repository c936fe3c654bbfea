"""Around what is closed: landlock can only open."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasd_py.runtime.confine import landlock
from faasd_py.runtime.confine.files import spread


@pytest.fixture
def tree(tmp_path):
    for path in ("a/b/open.txt", "a/b/state/queue", "a/c/x", "d/y", "f"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    return tmp_path


def names(root, opened, closed):
    found = spread(
        [os.fsencode(root / path) for path in opened], [os.fsencode(root / path) for path in closed]
    )
    return {os.fsdecode(os.path.relpath(path, os.fsencode(root))) for path in found}


def test_nothing_closed(tree):
    """What is opened is granted as it is."""
    assert names(tree, ["a", "d"], []) == {"a", "d"}
    assert names(tree, ["a", "f"], ["d"]) == {"a", "f"}


def test_around_what_is_closed(tree):
    """Each directory above it is replaced by what it holds."""
    assert names(tree, ["."], ["a/b/state"]) == {"a/b/open.txt", "a/c", "d", "f"}
    assert names(tree, ["."], ["a/b/state", "d"]) == {"a/b/open.txt", "a/c", "f"}
    assert names(tree, ["."], ["a/b/state/queue"]) == {"a/b/open.txt", "a/c", "d", "f"}


def test_within_what_is_closed(tree):
    """Closed stays closed, whatever is said to be open in it."""
    assert names(tree, ["a/b/state", "a/b/state/queue"], ["a/b/state"]) == set()
    assert names(tree, ["a"], ["a"]) == set()


def test_a_name_that_begins_alike(tree):
    """`state2` is not within `state`."""
    (tree / "a/b/state2").mkdir()
    assert "a/b/state2" in names(tree, ["."], ["a/b/state"])


def test_links_are_followed_first(tree):
    """A link to what is closed closes its target; a link beside it grants nothing of its own."""
    (tree / "link").symlink_to(tree / "a/b")
    (tree / "state").symlink_to("a/b/state")
    assert names(tree, ["."], ["state"]) == {"a/b/open.txt", "a/c", "d", "f"}
    assert names(tree, ["link"], ["state"]) == {"a/b/open.txt"}


def test_what_is_not_there(tree):
    """Is passed over: it may come."""
    assert names(tree, ["none"], ["a"]) == {"none"}
    assert names(tree, ["."], ["none/such"]) == {"a", "d", "f"}


@given(st.lists(st.sampled_from(["a", "a/b", "a/b/state", "a/c", "d", "f", "."]), min_size=1), st.data())
def test_no_grant_holds_anything_closed(tmp_path_factory, opened, data):
    """Whatever is opened and closed."""
    root = tmp_path_factory.getbasetemp() / "spread"
    for path in ("a/b/state/queue", "a/c/x", "d/y"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    (root / "f").touch()
    closed = data.draw(st.lists(st.sampled_from(["a/b/state", "a/c", "d", "f"])))
    for grant in spread(
        [os.fsencode(root / path) for path in opened], [os.fsencode(root / path) for path in closed]
    ):
        for wall in closed:
            wall_path = os.fsencode(root / wall)
            assert not (wall_path + b"/").startswith(grant + b"/")
            assert not (grant + b"/").startswith(wall_path + b"/")


SCRIPT = """
import os, sys
sys.path.insert(0, sys.argv[1])
from faasd_py.runtime.confine import kernel, landlock
root = sys.argv[2].encode()
kernel.prctl(kernel.NO_NEW_PRIVS, 1)
grants = [(root + b"/read", landlock.READ), (root + b"/write", landlock.READ | landlock.WRITE), (root + b"/one", landlock.READ),
          (root + b"/gone", landlock.READ)]
landlock.restrict(landlock.READ | landlock.WRITE, grants)
def tried(name, work, *words):
    try:
        work(*words)
        print(name, "ok")
    except OSError as error:
        print(name, type(error).__name__)
tried("read", lambda: open(root + b"/read/x").read())
tried("list", os.listdir, root + b"/read")
tried("write_to_read", lambda: open(root + b"/read/x", "w"))
tried("new_in_read", lambda: open(root + b"/read/new", "w"))
tried("remove_from_read", os.unlink, root + b"/read/x")
tried("write", lambda: open(root + b"/write/new", "w").write("w"))
tried("truncate", os.truncate, root + b"/write/new", 0)
tried("truncate_read", os.truncate, root + b"/read/x", 0)
tried("make", os.mkdir, root + b"/write/dir")
tried("rename", os.rename, root + b"/write/new", root + b"/write/dir/new")
tried("file", lambda: open(root + b"/one").read())
tried("other", lambda: open(root + b"/other").read())
tried("link_out", os.symlink, root + b"/other", root + b"/write/link")
tried("through_link", lambda: open(root + b"/write/link").read())
tried("list_root", os.listdir, root)
tried("kill", os.kill, os.getppid(), 0)
"""


def test_landlock(tmp_path):
    """Granted rights hold below their paths, all else is refused, to root as well; links lead nowhere else."""
    for name in ("read/x", "write/x", "one", "other"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("secret")
    root = landlock.__file__.partition("/faasd_py/")[0]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, root, tmp_path], capture_output=True, text=True, timeout=60, check=True
    )
    said = dict(line.split() for line in done.stdout.splitlines())
    refused = {name for name, outcome in said.items() if outcome == "PermissionError"}
    expected = {"write_to_read", "new_in_read", "remove_from_read", "other", "through_link", "list_root"}
    if landlock.version() >= 3:
        expected |= {"truncate_read"}
    if landlock.version() >= 6:
        expected |= {"kill"}
    assert refused == expected
    assert {said[name] for name in said.keys() - expected} == {"ok"}


def test_versions_of_landlock():
    """What a version does not know is not asked of it."""
    assert landlock.known(0) == 0
    assert not landlock.known(1) & (landlock.REFER | landlock.TRUNCATE)
    assert landlock.known(2) & landlock.REFER
    assert landlock.known(3) == landlock.known(7) == landlock.READ | landlock.WRITE
