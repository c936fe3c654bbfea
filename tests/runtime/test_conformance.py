"""Every built-in mode passes the suite that plug-ins pass."""

from __future__ import annotations

import os
import subprocess
from contextlib import asynccontextmanager

import trio

from faasd_py.runtime.process import open_fork, open_stream
from faasd_py.runtime.service import open_service
from faasd_py.runtime.upstream import open_upstream
from faasd_py.testing.runtime_conformance import SUBJECT, RuntimeConformance

from .places import PYTHON, alone, free_port


class TestFork(RuntimeConformance):
    live = serves = False

    def opened(self, name):
        return alone(open_fork, command=[*PYTHON, SUBJECT, "process", name])


class TestStream(RuntimeConformance):
    serves = False
    methods = (*RuntimeConformance.methods, b"OPTIONS", b"PROPFIND")

    def opened(self, name):
        return alone(open_stream, command=[*PYTHON, SUBJECT, "process", name])


class TestServiceOnAPort(RuntimeConformance):
    methods = (*RuntimeConformance.methods, b"OPTIONS", b"PROPFIND")

    def opened(self, name):
        return alone(open_service, mode="http", command=[*PYTHON, SUBJECT, "serve"])


class TestServiceOnAUnixSocket(RuntimeConformance):
    def opened(self, name):
        return alone(open_service, mode="http", command=[*PYTHON, SUBJECT, "serve"], unix_socket=True)


class TestUpstream(RuntimeConformance):
    @asynccontextmanager
    async def opened(self, name):
        port = free_port()
        self.host = f"127.0.0.1:{port}"
        server = subprocess.Popen([*PYTHON, SUBJECT, "serve"], env=os.environ | {"PORT": str(port)})
        try:
            await listening(port)
            async with alone(open_upstream, url=f"http://127.0.0.1:{port}") as runtime:
                yield runtime
        finally:
            server.kill()
            server.wait()


async def listening(port):
    with trio.fail_after(10):
        while True:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:
                await trio.sleep(0.005)
            else:
                await stream.aclose()
                return
