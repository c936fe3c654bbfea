"""The filter of system calls: what it refuses on each machine, by running it, and on this one, by the kernel."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from faasd_py.runtime.confine import seccomp
from faasd_py.runtime.confine.syscalls import BY_ARGUMENT, MACHINES, numbers

from .bpf import ABSENT, ALLOW, REFUSE, verdict

ORDINARY = {
    "x86_64": {
        "read": 0,
        "write": 1,
        "mmap": 9,
        "fork": 57,
        "execve": 59,
        "kill": 62,
        "prctl": 157,
        "openat": 257,
    },
    "aarch64": {"read": 63, "write": 64, "kill": 129, "prctl": 167, "execve": 221, "mmap": 222, "openat": 56},
}


@pytest.fixture(params=MACHINES)
def machine(request):
    return request.param


def asked(machine, name_or_number, *arguments, network=True):
    number = numbers(machine)[name_or_number] if isinstance(name_or_number, str) else name_or_number
    code = seccomp.assemble(seccomp.program(machine, network=network))
    return verdict(code, MACHINES[machine][0], number, *arguments)


def test_what_no_function_needs_is_refused(machine):
    """Whatever the arguments."""
    for name in numbers(machine).keys() - BY_ARGUMENT:
        assert asked(machine, name) == asked(machine, name, 1, 2, 3, 4, 5, 6) == REFUSE, name


def test_ordinary_calls_are_allowed(machine):
    """Every number that is not named, also those that the kernel will have one day."""
    refused = {number for name, number in numbers(machine).items() if name not in BY_ARGUMENT | {"clone3"}}
    for number in (*ORDINARY[machine].values(), *range(600)):
        if number not in refused and number != numbers(machine)["clone3"]:
            assert asked(machine, number) == ALLOW, number


def test_namespaces(machine):
    """Both make processes and threads, but none of the eight kinds of namespaces."""
    thread = 0x3D0F00  # what pthread_create asks for
    for flags in (0, 17, thread, 0x400 | 0x200):
        assert asked(machine, "clone", flags) == asked(machine, "unshare", flags) == ALLOW
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert asked(machine, "clone", thread | flag) == asked(machine, "unshare", flag) == REFUSE
    assert asked(machine, "unshare", 0x80) == REFUSE
    assert asked(machine, "clone3") == ABSENT


def test_a_terminal_is_not_typed_into(machine):
    """TIOCSTI and TIOCLINUX; other requests pass."""
    assert asked(machine, "ioctl", 0, 0x5412) == asked(machine, "ioctl", 0, 0x541C) == REFUSE
    assert asked(machine, "ioctl", 0, 0x5401) == ALLOW


def test_sockets(machine):
    """All kinds; without network unix ones only."""
    for family in (1, 2, 10, 16, 17, 40):
        assert asked(machine, "socket", family) == ALLOW
        assert asked(machine, "socket", family, network=False) == (ALLOW if family == 1 else REFUSE)


def test_another_machines_numbers(machine):
    """32-bit calls have other numbers: none of them is let through. Nor are those of x32."""
    code = seccomp.assemble(seccomp.program(machine))
    for architecture in (0x40000003, 0x40000028, 0):
        assert verdict(code, architecture, 0) == ABSENT
    assert asked(machine, 0x40000000 | 59) == asked(machine, 0xFFFFFFFF) == ABSENT


def test_the_filter_is_as_long_as_the_kernel_takes(machine):
    """BPF_MAXINSNS, and every jump stays inside."""
    instructions = seccomp.program(machine, network=False)
    assert len(instructions) < 4096
    for at, (_, if_true, if_false, _) in enumerate(instructions):
        assert at + 1 + max(if_true, if_false) <= len(instructions)


KERNEL = """
import ctypes, errno, sys
sys.path.insert(0, sys.argv[1])
from faasd_py.runtime.confine import kernel, seccomp
from faasd_py.runtime.confine.syscalls import BY_ARGUMENT, numbers
kernel.prctl(kernel.NO_NEW_PRIVS, 1)
seccomp.install(network=sys.argv[3] == "network")
libc = ctypes.CDLL(None, use_errno=True)
for name, number in numbers(sys.argv[2]).items():
    if name not in BY_ARGUMENT:
        result = libc.syscall(number, 0, 0, 0, 0, 0, 0)
        print(name, errno.errorcode[ctypes.get_errno()] if result < 0 else result)
import socket
try:
    socket.socket(socket.AF_INET)
    print("socket allowed")
except PermissionError:
    print("socket EPERM")
import threading
threading.Thread(target=print, args=("thread runs",)).start()
"""


@pytest.mark.parametrize("network", ["network", "none"])
def test_the_kernel_agrees(network):
    """On this machine: installed for real, every call is refused; threads and what is allowed work."""
    root = seccomp.__file__.partition("/faasd_py/")[0]
    done = subprocess.run(
        [sys.executable, "-c", KERNEL, root, platform.machine(), network],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said = dict(line.split(" ") for line in done.stdout.splitlines())
    assert said.pop("thread") == "runs"
    assert said.pop("socket") == ("allowed" if network == "network" else "EPERM")
    assert set(said.values()) == {"EPERM"}
    assert len(said) > 40
    assert seccomp.available()
