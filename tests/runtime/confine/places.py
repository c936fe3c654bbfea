"""Confined functions on this machine: a state directory that is closed, a function's private one, and a caller."""

from __future__ import annotations

import os
import pwd
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from faasd_py.config import FunctionSettings
from faasd_py.hookspecs import RuntimeSite
from faasd_py.runtime.confine.confiner import open_confiner
from faasd_py.runtime.machinery import open_machinery
from faasd_py.runtime.process import open_fork
from faasd_py.testing.recorder import Recorder
from faasd_py.testing.runtime_conformance import request
from tests.runtime.places import Log

PLACE = os.environ.get("PLACE") or ("/srv" if os.access("/srv", os.W_OK) else Path.home())
NOBODY = pwd.getpwnam("nobody")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")


class Box:
    """A confiner and its machinery; `state` and `run` are closed to functions, `open` is open to all."""

    def __init__(self, root, confiner, machinery, events):
        self.state, self.run = root / "state", root / "run"
        self.root = root
        self.open = root / "open"
        self.confiner = confiner
        self.machinery = machinery
        self.events = events

    @asynccontextmanager
    async def function(self, command, name="f", open_mode=open_fork, **settings):
        """A function that is called with a body, and answers with its status and text."""
        log = Log()
        own = self.run / "functions" / name
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        where = RuntimeSite(
            name=name,
            namespace="openfaas-fn",
            settings=FunctionSettings(command=command, **settings),
            directory=own,
            secrets=self.state / "secrets",
            log=log,
            machinery=self.machinery,
        )
        async with open_mode(where) as runtime:

            async def call(body=b""):
                reply = Recorder()
                await runtime.invoke(request("x", body), reply)
                return reply.status, reply.body.decode()

            call.log, call.runtime = log, runtime
            yield call


@asynccontextmanager
async def box(root=None):
    """Not below /tmp, which is open to all, but in a directory that everybody may enter."""
    events = []
    with tempfile.TemporaryDirectory(dir=PLACE) as directory:
        root = root or Path(directory)
        root.mkdir(exist_ok=True)
        root.chmod(0o755)
        for name in ("state/secrets", "run", "open"):
            (root / name).mkdir(mode=0o700, parents=True)
        (root / "open").chmod(0o777)
        (root / "state/queue").write_text("accepted calls")
        (root / "state/secrets/token").write_text("hush")
        with open_confiner(root / "state", [root / "state", root / "run"]) as confiner:
            async with open_machinery(
                confiner, lambda name, **facts: events.append((name, facts))
            ) as machinery:
                yield Box(root, confiner, machinery, events)
