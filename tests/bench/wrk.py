"""One run of wrk, the load generator, and what it counted."""

from __future__ import annotations

import json
import os
import subprocess
from typing import NamedTuple

from tests.bench.place import HERE


class Load(NamedTuple):
    """`good` requests were answered below 400; latencies are in seconds."""

    good: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        return self.good / self.seconds


class Failed(Exception):
    """More than a stray request was refused or broke: the figures would mean nothing."""


def load(url: str, *, connections: int, seconds: float, size: int = 128) -> Load:
    """POST for so long over so many connections, one thread.

    Raises:
        Failed: connections broke, or more than one request in a thousand was refused.
    """
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "-s",
        str(HERE / "load.lua"),
        url,
    ]
    done = subprocess.run(
        command, env=os.environ | {"BYTES": str(size)}, capture_output=True, text=True, check=True
    )
    return read(done.stdout, url)


def read(output: str, url: str) -> Load:
    """What the last line of load.lua says."""
    said = json.loads(output.strip().splitlines()[-1])
    good = said["requests"] - said["refused"]
    if said["broken"] or said["refused"] * 1000 > said["requests"] or not good:
        raise Failed(
            f"{url}: of {said['requests']} requests {said['refused']} were refused, {said['broken']} broke"
        )
    return Load(good, said["micros"] / 1e6, said["p50"] / 1e6, said["p99"] / 1e6)
