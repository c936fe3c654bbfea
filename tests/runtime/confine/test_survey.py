"""Where control groups can be made: trees as kernels, systemd and containers lay them, and the real one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from faasd_py.runtime.confine import cgroup
from faasd_py.runtime.confine.cgroup import Place, survey

ALL = "cpuset cpu io memory hugetlb pids\n"
DELEGATE = "Delegate=yes"


class Tree:
    """A mount of cgroup v2 and a /proc that tells of it."""

    def __init__(self, root: Path) -> None:
        self.proc = root / "proc"
        self.mount = root / "groups"
        self.mount.mkdir()
        (self.proc / "self").mkdir(parents=True)
        (self.mount / "cgroup.controllers").write_text(ALL)

    def live(
        self, group: str, *, seen: str = "/", controllers: str = ALL, pids: tuple[int, ...] = ()
    ) -> Path:
        """This process is in `group`, and `seen` is what the mount shows; the directory of the group."""
        line = f"30 23 0:26 {seen} {self.mount} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
        (self.proc / "self" / "mountinfo").write_text(f"22 1 8:1 / / rw - ext4 /dev/vda rw\n{line}")
        (self.proc / "self" / "cgroup").write_text(f"4:memory:/elsewhere\n0::{group}\n")
        path = self.mount / group.removeprefix(seen).lstrip("/")
        path.mkdir(parents=True, exist_ok=True)
        (path / "cgroup.controllers").write_text(controllers)
        (path / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in (os.getpid(), *pids)))
        if group != "/":
            (path / "cgroup.type").write_text("domain\n")
        return path

    def survey(self, name: str = "state") -> Place:
        return survey(name, self.proc)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.fixture(autouse=True)
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where systemd would leave its sign that it runs; it does not, until a test makes the directory."""
    path = tmp_path / "systemd"
    monkeypatch.setattr(cgroup, "_SYSTEMD", path)
    return path


def test_no_mount(tree: Tree) -> None:
    """Only version 1, or nothing: there is no place."""
    (tree.proc / "self" / "mountinfo").write_text(
        "31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    )
    (tree.proc / "self" / "cgroup").write_text("4:memory:/\n")
    place = tree.survey()
    assert (place.path, place.reason) == (None, "cgroup v2 is not mounted")
    assert place.controllers() == set()


def test_no_proc(tree: Tree) -> None:
    """Where nothing is told, nothing is made."""
    assert tree.survey().path is None


@pytest.mark.parametrize("seen", ["/docker/other", "/docker/se"])
def test_a_group_outside_of_the_mount(tree: Tree, seen: str) -> None:
    """As in a container that was entered from outside; names that begin alike are not below each other."""
    tree.live("/docker/self")
    line = f"30 23 0:26 {seen} {tree.mount} rw - cgroup2 cgroup2 rw\n"
    (tree.proc / "self" / "mountinfo").write_text(line)
    assert "not below the mounted ones" in tree.survey().reason


def test_the_root_of_all(tree: Tree) -> None:
    """It may have processes: a group is made below it, one for each daemon, and nobody moves."""
    tree.live("/")
    place, other = tree.survey("a"), tree.survey("b")
    assert place.path is not None
    assert other.path is not None
    assert (place.path.parent, place.moves) == (tree.mount, False)
    assert place.path.name.startswith("faasd-py-")
    assert place.path != other.path
    assert place == tree.survey("a")
    assert place.controllers() == {*ALL.split()}
    assert list(tree.mount.glob("faasd-py-*")) == []


def test_a_container_of_its_own(tree: Tree) -> None:
    """What is mounted is the group we are in: all in it is ours, whoever else is there."""
    path = tree.live("/docker/self", seen="/docker/self", pids=(1, 77))
    assert tree.survey() == Place(path, moves=True)


def test_a_service_that_is_given_its_group(tree: Tree, systemd: Path) -> None:
    """Alone in it, and it has systemd's mark (or we are not root, and may write there)."""
    systemd.mkdir()
    path = tree.live("/system.slice/faasd-py.service", controllers="memory pids\n")
    os.setxattr(path, "user.delegate", b"1")
    place = tree.survey()
    assert place == Place(path, moves=True)
    assert place.controllers() == {"memory", "pids"}


def test_a_service_that_is_not(tree: Tree, systemd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root could write there all the same: systemd would be surprised, and so it is refused."""
    monkeypatch.setattr(cgroup.os, "geteuid", lambda: 0)
    systemd.mkdir()
    path = tree.live("/system.slice/faasd-py.service")
    for mark in (None, b"0"):
        if mark is not None:
            os.setxattr(path, "user.delegate", mark)
        place = tree.survey()
        assert place.path is None
        assert DELEGATE in place.reason
        assert "is systemd's" in place.reason


def test_a_group_with_others_in_it(tree: Tree) -> None:
    """A login session's, for instance: its other processes are nobody's to move."""
    tree.live("/user.slice/session-1.scope", pids=(1,))
    assert "has other processes in it" in tree.survey().reason


def test_without_systemd_a_group_of_its_own_is_enough(tree: Tree) -> None:
    """As other init systems give it."""
    path = tree.live("/faasd")
    assert tree.survey() == Place(path, moves=True)


def test_a_daemon_that_has_moved(tree: Tree, systemd: Path) -> None:
    """In its leaf, as after exec: the place is the group above, and who else is in the leaf is no matter."""
    systemd.mkdir()
    path = tree.live("/system.slice/faasd-py.service/daemon", controllers="", pids=(1,))
    (path.parent / "cgroup.controllers").write_text("cpu\n")
    place = tree.survey()
    assert place == Place(path.parent, moves=True)
    assert place.controllers() == {"cpu"}


def test_nothing_is_changed(tree: Tree) -> None:
    """A survey looks."""
    path = tree.live("/faasd")
    before = {file: file.read_bytes() for file in tree.mount.rglob("*") if file.is_file()}
    tree.survey()
    assert {file: file.read_bytes() for file in tree.mount.rglob("*") if file.is_file()} == before
    assert sorted(path.iterdir()) == sorted(
        path / name for name in ("cgroup.controllers", "cgroup.procs", "cgroup.type")
    )


def test_one_that_cannot_be_written_to(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unit's user was not given the group; root is asked as root would be, and so the answer is a stand-in's."""
    path = tree.live("/system.slice/faasd-py.service")
    monkeypatch.setattr(cgroup.os, "access", lambda asked, mode: asked != path)
    place = tree.survey()
    assert place == Place(reason=f"{path} cannot be written to: the daemon's unit needs {DELEGATE}")


def test_this_machine() -> None:
    """Whatever it has: a place that is there (or whose parent is), or a reason; controllers only with a place."""
    place = survey("state")
    assert (place.path is None) == bool(place.reason)
    if place.path is None:
        assert place.controllers() == set()
    else:
        above = place.path if place.moves else place.path.parent
        assert os.access(above, os.W_OK)
        assert place.controllers() == {*(above / "cgroup.controllers").read_text().split()}
