"""A machine for seccomp filters: what the kernel would answer to a system call."""

from __future__ import annotations

import struct

ALLOW, REFUSE, ABSENT = 0x7FFF0000, 0x00050001, 0x00050026
"""Allowed; EPERM; ENOSYS."""


def verdict(code: bytes, architecture: int, number: int, *arguments: int) -> int:
    """Run assembled code over struct seccomp_data (BPF's classic instructions, as far as filters use them)."""
    words = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("<iIQ6Q", number if number < 1 << 31 else number - (1 << 32), architecture, 0, *words)
    instructions = [struct.unpack_from("<HBBI", code, at) for at in range(0, len(code), 8)]
    accumulator, at = 0, 0
    while True:
        operation, if_true, if_false, value = instructions[at]
        at += 1
        if operation == 0x20:
            accumulator = struct.unpack_from("<I", data, value)[0]
        elif operation == 0x06:
            return value
        else:
            holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}
            at += if_true if holds[operation] else if_false
