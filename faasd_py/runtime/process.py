"""Plug-in: the modes that start a process for each request, `fork` and `stream`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from faasd_py.hookspecs import RegisterRuntime, RuntimeSite, hookimpl
from faasd_py.runtime.contract import Runtime
from faasd_py.runtime.fork import Fork
from faasd_py.runtime.program import prepare
from faasd_py.runtime.stream import Stream


def open_fork(site: RuntimeSite) -> AbstractAsyncContextManager[Runtime]:
    """Mode `fork`.

    Raises:
        ConfigError: on entering, when the command cannot be run as it is set up.
    """
    return _opened(Fork, site)


def open_stream(site: RuntimeSite) -> AbstractAsyncContextManager[Runtime]:
    """Mode `stream`; raises as `open_fork`."""
    return _opened(Stream, site)


@asynccontextmanager
async def _opened(kind: type[Fork | Stream], site: RuntimeSite) -> AsyncIterator[Runtime]:
    program = prepare(site)
    runtime = kind(site, program)
    try:
        yield runtime
    finally:
        try:
            await runtime.running.drained()
        finally:
            with trio.CancelScope(shield=True):
                await site.machinery.forget(program)


@hookimpl
def faasd_py_register_runtimes(register: RegisterRuntime) -> None:
    """Both modes."""
    register("fork", open_fork)
    register("stream", open_stream)
