"""From settings to bounds, and what is refused beforehand: on hosts that can do all, some, or nothing of it."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from faasd_py.config import ConfineSettings, FunctionSettings, LimitSettings
from faasd_py.runtime.confine.bounds import (
    SCRATCH,
    SYSTEM,
    asked,
    bounds_of,
    home,
    identity_of,
    problems,
    unenforced,
)
from faasd_py.runtime.confine.cgroup import cpu_max
from faasd_py.runtime.confine.host import Host, with_groups
from tests.runtime.places import site

ABLE = Host(landlock=7)
UNABLE = Host(
    memory="no memory",
    cpu="no cpu",
    pids="no pids",
    user="no setuid",
    files="no landlock",
    system_calls="no seccomp",
)


def settings(**more):
    return FunctionSettings(command=["/srv/f/run", "--model", "/srv/models/a", "relative"], **more)


def bounds(host=ABLE, closed=(), **more):
    where = site(None, "/run/x/functions/1", **{"command": settings().command, **more})
    return bounds_of(where, host, [Path(path) for path in closed])


@pytest.mark.parametrize(
    ("more", "confined"),
    [
        ({}, False),
        ({"limits": LimitSettings(open_files=9)}, False),
        ({"limits": LimitSettings(best_effort=True)}, False),
        ({"user": str(os.geteuid())}, False),
        ({"user": pwd.getpwuid(os.geteuid()).pw_name}, False),
        ({"limits": LimitSettings(memory=1 << 20)}, True),
        ({"limits": LimitSettings(cpu=0.5)}, True),
        ({"limits": LimitSettings(pids=5)}, True),
        ({"user": "somebody-else"}, True),
        ({"confine": ConfineSettings()}, True),
        ({"read_only_root": True}, True),
    ],
    ids=str,
)
def test_who_is_confined(more, confined):
    """Those that ask for a bound that a plain helper does not have; the others pay nothing."""
    assert asked(settings(**more)) is confined
    if "user" not in more:
        assert (bounds(**more) is not None) is confined


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, []),
        ({"limits": LimitSettings(memory=1 << 20)}, ["f.limits.memory: cannot be enforced here: no memory; limits.best_effort = true runs it without"]),
        (
            {"limits": LimitSettings(cpu=1, pids=2)},
            [f"f.limits.{key}: cannot be enforced here: no {key}; limits.best_effort = true runs it without" for key in ("cpu", "pids")],
        ),
        ({"limits": LimitSettings(memory=1, cpu=1, pids=2, best_effort=True)}, []),
        ({"user": "nobody"}, ["f.user: functions cannot run as 'nobody' here: no setuid"]),
        ({"user": "nobody", "limits": LimitSettings(best_effort=True)}, ["f.user: functions cannot run as 'nobody' here: no setuid"]),
        ({"confine": ConfineSettings()}, ["f.confine: cannot be enforced here: no landlock", "f.confine: cannot be enforced here: no seccomp"]),
        ({"read_only_root": True}, ["f.read_only_root: cannot be enforced here: no landlock"]),
    ],
    ids=str,
)  # fmt: skip
def test_a_host_that_can_do_nothing(more, expected):
    """Everything that was asked for is refused by its key and the reason; only limits may be waived."""
    other = {"user": "0"} if os.geteuid() else {}
    assert list(problems("f", settings(**more), UNABLE)) == expected
    assert list(problems("f", settings(**{**more, **other}), ABLE)) == []


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"user": "no-such-user"}, "f.user: there is no user 'no-such-user'"),
        ({"user": "12345678"}, "f.user: there is no user '12345678'"),
        ({"user": "nobody:no-such-group"}, "f.user: there is no group 'no-such-group'"),
        ({"user": "no-such-user:5"}, "f.user: there is no user 'no-such-user'"),
        ({"confine": ConfineSettings(read=["/none/such"])}, "f.confine.read: there is no /none/such"),
        ({"confine": ConfineSettings(write=["/none/such"])}, "f.confine.write: there is no /none/such"),
    ],
    ids=str,
)
def test_what_is_not_there(more, problem):
    """Users, groups and paths are looked for beforehand."""
    assert list(problems("f", settings(**more), ABLE)) == [problem]


def test_identities():
    """By name with the user's groups, with another group, and by numbers that nobody has."""
    nobody = pwd.getpwnam("nobody")
    assert identity_of("nobody") == (nobody.pw_uid, nobody.pw_gid, os.getgrouplist("nobody", nobody.pw_gid))
    assert identity_of(str(nobody.pw_uid)) == identity_of("nobody")
    assert identity_of("nobody:root") == (nobody.pw_uid, 0, [0])
    assert identity_of("12345678:87654321") == (12345678, 87654321, [87654321])
    found = bounds(user="nobody")
    assert home(found) == {"HOME": nobody.pw_dir, "USER": "nobody", "LOGNAME": "nobody"}
    assert home(bounds(user="12345678:87654321")) == {"HOME": "/"}
    assert home(bounds(confine=ConfineSettings())) == home(None) == {}


def test_limits_are_the_groups():
    """In the kernel's words; the runner is one process more. Without control groups memory is each one's address space."""
    limits = LimitSettings(memory=64 << 20, cpu=1.5, pids=10)
    found = bounds(limits=limits)
    assert found.limits == {"memory.max": "67108864", "cpu.max": "150000 100000", "pids.max": "11"}
    assert (found.memory, found.address_space) == ("64MiB", 0)
    weak = bounds(UNABLE, limits=limits)
    assert (weak.limits, weak.memory, weak.address_space) == ({}, "", 64 << 20)
    assert (weak.files, weak.filter) == (None, False)
    assert unenforced(settings(limits=limits), UNABLE) == ["memory", "cpu", "pids"]
    assert unenforced(settings(limits=limits), ABLE) == []


@pytest.mark.parametrize(
    ("cores", "quota"),
    [(1, "100000 100000"), (0.5, "50000 100000"), (16, "1600000 100000"), (0.01, "1000 100000"), (0.001, "1000 1000000"),
     (0.0001, "1000 1000000"), (0.005, "1000 200000")],
)  # fmt: skip
def test_shares_of_a_core(cores, quota):
    """The kernel takes a quota of 1 ms and more, and a period of 1 s and less."""
    assert cpu_max(cores) == quota


def test_files_without_confine():
    """All but what is closed; names in directories are not hidden."""
    found = bounds(closed=["/var/lib/faasd-py"], limits=LimitSettings(cpu=1)).files
    assert found["read"] == found["write"] == [b"/"]
    assert (found["closed"], found["read_only"]) == ([b"/var/lib/faasd-py"], [b"/sys"])
    assert found["own_write"] == [b"/run/x/functions/1"]
    assert not found["listing"]


def test_files_with_confine():
    """The system, the files of the command, the working directory, and what is listed."""
    confine = ConfineSettings(read=["/srv/more"], write=["/srv/out"])
    found = bounds(confine=confine, working_directory="/srv/work").files
    assert found["read"] == [
        os.fsencode(path) for path in (*SYSTEM, "/srv/f/run", "/srv/models/a", "/srv/work", "/srv/more")
    ]
    assert found["write"] == [os.fsencode(path) for path in (*SCRATCH, "/srv/out")]
    assert b"/etc/shadow" in found["closed"]
    assert found["listing"]


def test_files_within_what_is_closed():
    """Named in the settings: granted; what only lies above it: not."""
    closed = ["/var/lib/faasd-py"]
    found = bounds(
        closed=closed, limits=LimitSettings(cpu=1), working_directory="/var/lib/faasd-py/data"
    ).files
    assert b"/var/lib/faasd-py/data" in found["own_write"]
    confine = ConfineSettings(read=["/var/lib", "/var/lib/faasd-py/models"], write=["/var/lib/faasd-py/out"])
    found = bounds(closed=closed, confine=confine, working_directory="/var/lib/faasd-py/data").files
    assert found["own_read"] == [b"/var/lib/faasd-py/data", b"/var/lib/faasd-py/models"]
    assert found["own_write"] == [b"/run/x/functions/1", b"/var/lib/faasd-py/out"]


def test_read_only_root():
    """Reading as ever, writing to scratch; with `confine` to what that lists, too."""
    found = bounds(read_only_root=True, working_directory="/srv/work").files
    assert found["read"] == [b"/"]
    assert found["write"] == [os.fsencode(path) for path in SCRATCH]
    found = bounds(read_only_root=True, confine=ConfineSettings(write=["/srv/out"])).files
    assert found["write"] == [os.fsencode(path) for path in (*SCRATCH, "/srv/out")]


def test_what_a_host_lacks_is_told():
    """A row for each bound, with the means or the reason."""
    host = with_groups(Host(landlock=3, user="not root"), {"cpu", "io"}, "")
    assert list(host.rows()) == [
        ("memory", "no", "the kernel gives no memory controller to cgroup v2 here"),
        ("cpu", "yes", "cgroup v2"),
        ("pids", "no", "the kernel gives no pids controller to cgroup v2 here"),
        ("user", "no", "not root"),
        ("files", "yes", "landlock, version 3"),
        ("system calls", "yes", "seccomp"),
    ]
    assert with_groups(Host(), set(), "no Delegate").pids == "no Delegate"
