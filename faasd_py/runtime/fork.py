"""Mode `fork`: a process for each request, as OpenFaaS' classic-watchdog does (wire contract §5.2).

Body on stdin, answer on stdout, the request as `Http_…` in the environment; exit 0 is a 200, all else a 500. The status
is known only at the end, so the output waits for it: up to 64 MiB, after which the answer begins as a 200 and breaks off
if the process fails.
"""

from __future__ import annotations

import os
import time
from typing import Final

import trio

from faasd_py.core.errors import FunctionUnavailable
from faasd_py.hookspecs import RuntimeSite
from faasd_py.runtime import environment, sniff
from faasd_py.runtime.child import Program
from faasd_py.runtime.contract import FunctionLog, Invocation, Replicas, Reply
from faasd_py.runtime.machinery import Machinery
from faasd_py.runtime.nursery import open_nursery
from faasd_py.runtime.output import MEMORY, Output
from faasd_py.runtime.refusal import not_allowed, too_long, unspeakable
from faasd_py.runtime.run import PIECE, Run, TooLong
from faasd_py.runtime.running import Running

_PIPE: Final = 60 << 10
METHODS: Final = frozenset({b"POST", b"PUT", b"PATCH", b"DELETE", b"GET"})


class Fork:
    """One function in mode `fork`."""

    def __init__(self, site: RuntimeSite, program: Program) -> None:
        settings = site.settings
        self._machinery: Machinery = site.machinery
        self._log = site.log
        self._program = program
        self._combine = settings.combine_output
        self._headers = settings.cgi_headers
        self._grace = settings.kill_grace
        self._type = settings.content_type.encode("latin-1", "replace") if settings.content_type else b""
        self._large = False
        """The last output was larger than a pipe: do not let the next process wait."""
        self.running = Running()

    def replicas(self) -> Replicas:
        """Always one: there is nothing to keep up."""
        return Replicas(wanted=1, available=1)

    async def invoke(self, invocation: Invocation, reply: Reply) -> None:
        """One process, one answer."""
        if invocation.method not in METHODS:
            await not_allowed(reply, METHODS)
            return
        try:
            variables = environment.of_request(invocation) if self._headers else {}
        except environment.Unspeakable as error:
            await unspeakable(reply, str(error))
            return
        with self.running:
            try:
                await self._serve(invocation, variables, reply)
            except TooLong:
                await too_long(reply)

    async def _serve(self, invocation: Invocation, variables: dict[bytes, bytes], reply: Reply) -> None:
        run = Collecting(self._machinery, self._log, invocation.call_id)
        began = time.perf_counter()
        told = getattr(self._log, "watchdog_lines", False)
        if told:
            self._tell(run, "Forking fprocess.")
        try:
            await run.start(self._program, variables, invocation, combine=self._combine)
            if self._large:
                run.collect()
            if run.stdin < 0:
                await run.finish()
            else:
                async with open_nursery() as nursery:
                    nursery.start_soon(run.feed)
                    await run.finish()
                    nursery.cancel_scope.cancel()
            self._large = run.output.size > _PIPE
            if run.output.full:
                await self._answer_early(run, invocation, reply)
            else:
                await self._answer(run, invocation, reply, time.perf_counter() - began)
        finally:
            await run.close(self._grace)
            if told and run.ended.is_set():
                wrote, seconds = run.output.size, time.perf_counter() - began
                self._tell(run, f"Wrote {wrote} Bytes - Duration: {seconds:.6f}s")
            run.output.close()

    def _tell(self, run: Collecting, text: str) -> None:
        """A line as classic-watchdog writes it: people look for them (wire contract §5.2)."""
        pid = str(run.child.pid) if run.child else ""
        self._log.line(time.strftime("%Y/%m/%d %H:%M:%S ") + text, instance=pid, call_id=run.call_id)

    async def _answer(self, run: Collecting, invocation: Invocation, reply: Reply, seconds: float) -> None:
        output, status = run.output, run.status()
        if status == 0:
            code, prefix = 200, b""
            headers = b"Content-Type: %s\r\nX-Duration-Seconds: %.6f\r\n" % (
                self._kind(invocation, output),
                seconds,
            )
        else:
            code, prefix = 500, run.ending().encode() + b"\n"
            headers = b"Content-Type: %s\r\n" % sniff.TEXT
        if output.small:
            await reply.answer(code, headers, prefix + output.whole())
            return
        size = len(prefix) + output.size
        await reply.start(code, headers + b"Content-Length: %d\r\n" % size, size)
        if prefix:
            await reply.write(prefix)
        await output.send(reply)
        await reply.end()

    async def _answer_early(self, run: Collecting, invocation: Invocation, reply: Reply) -> None:
        """The output is too large to wait for the status: a failure can only break the answer off."""
        await reply.start(200, b"Content-Type: %s\r\n" % self._kind(invocation, run.output), None)
        await run.output.send(reply)
        while piece := await run.more():
            run.output.size += len(piece)
            await reply.write(piece)
        await run.ended.wait()
        if run.status():
            raise FunctionUnavailable(f"{run.ending()} after its answer had begun")
        await reply.end()

    def _kind(self, invocation: Invocation, output: Output) -> bytes:
        return self._type or sniff.declared(invocation.headers) or sniff.content_type(output.start)


class Collecting(Run):
    """A run whose output is collected by the pump while it is small, and by its task from then on.

    Most processes end at once: their output lies in the pipe then, and nobody need have waited for it.
    """

    __slots__ = ("_eof", "_taken", "_wake", "output")

    def __init__(self, machinery: Machinery, log: FunctionLog, call_id: str) -> None:
        super().__init__(machinery, log, call_id)
        self.output = Output()
        self._eof = False
        self._taken = False
        self._wake = trio.Event()

    def collect(self) -> None:
        """From now on output is read as it comes; unless the task does that already."""
        if self.stdout >= 0 and not self._taken and not self._eof and not self.ended.is_set():
            self._machinery.pump.add(self.stdout, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self.stdout, PIECE)
        except BlockingIOError:
            return
        if not data:
            self._eof = True
            self._machinery.pump.remove(self.stdout)
        elif not self.output.add(data):
            self._machinery.pump.remove(self.stdout)
            self._wake.set()

    def on_running(self) -> None:
        """It takes its time: read along."""
        super().on_running()
        self.collect()

    def on_end(self) -> None:
        """Wake the task, which reads what is left."""
        super().on_end()
        self._wake.set()

    async def finish(self) -> None:
        """Returns when the process has ended and its output is collected, or when the output is full."""
        await self._wake.wait()
        self._taken = True
        self._machinery.pump.remove(self.stdout)
        while not self._eof and not self.output.full:
            if self.output.held >= MEMORY:
                await self.output.spill()
            elif data := await self.more():
                self.output.add(data)
            else:
                self._eof = True
        if not self.output.full:
            await self.ended.wait()
