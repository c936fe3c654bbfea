"""Mode `stream`: a process for each request with stdin and stdout live, as of-watchdog's streaming (wire contract §5.3).

The answer is a 200 from the first output on, each piece passed on as it comes; how the process ends after that is only
logged. A process that fails before any output is answered as in mode `fork`, where of-watchdog would say 200: otherwise
an asynchronous call that failed would pass for one that succeeded.
"""

from __future__ import annotations

from faasd_py.hookspecs import RuntimeSite
from faasd_py.runtime import environment, sniff
from faasd_py.runtime.child import Program
from faasd_py.runtime.contract import Invocation, Replicas, Reply
from faasd_py.runtime.machinery import Machinery
from faasd_py.runtime.nursery import open_nursery
from faasd_py.runtime.refusal import too_long, unspeakable
from faasd_py.runtime.run import Run, TooLong
from faasd_py.runtime.running import Running


class Stream:
    """One function in mode `stream`."""

    def __init__(self, site: RuntimeSite, program: Program) -> None:
        settings = site.settings
        self._machinery: Machinery = site.machinery
        self._log = site.log
        self._program = program
        self._combine = settings.combine_output
        self._variables = settings.cgi_headers
        self._grace = settings.kill_grace
        kind = settings.content_type.encode("latin-1", "replace") if settings.content_type else sniff.BINARY
        self._head = b"Content-Type: %s\r\n" % kind
        self.running = Running()

    def replicas(self) -> Replicas:
        """Always one: there is nothing to keep up."""
        return Replicas(wanted=1, available=1)

    async def invoke(self, invocation: Invocation, reply: Reply) -> None:
        """One process, one answer."""
        try:
            variables = environment.of_request(invocation) if self._variables else {}
        except environment.Unspeakable as error:
            await unspeakable(reply, str(error))
            return
        with self.running:
            run = Run(self._machinery, self._log, invocation.call_id)
            try:
                await run.start(self._program, variables, invocation, combine=self._combine)
                await self._serve(run, reply)
            except TooLong:
                await too_long(reply)
            finally:
                await run.close(self._grace)

    async def _serve(self, run: Run, reply: Reply) -> None:
        async with open_nursery() as nursery:
            if run.stdin >= 0:
                nursery.start_soon(run.feed)
            await self._pass_on(run, reply)
            nursery.cancel_scope.cancel()

    async def _pass_on(self, run: Run, reply: Reply) -> None:
        piece = await run.more()
        if not piece:
            await self._answer_empty(run, reply)
            return
        await reply.start(200, self._head, None)
        while piece:
            await reply.write(piece)
            piece = await run.more()
        await run.ended.wait()
        if run.status():
            text = f"{run.ending()} after the answer had begun"
            pid = run.child.pid if run.child else 0
            self._log.line(text, instance=str(pid), call_id=run.call_id)
        await reply.end()

    async def _answer_empty(self, run: Run, reply: Reply) -> None:
        await run.ended.wait()
        if run.status():
            await reply.answer(500, b"Content-Type: %s\r\n" % sniff.TEXT, run.ending().encode() + b"\n")
        else:
            await reply.answer(200, self._head, b"")
