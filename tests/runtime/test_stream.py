"""Mode stream: live both ways, as of-watchdog's streaming mode (wire contract §5.3)."""

from __future__ import annotations

import pytest
import trio

from faasd_py.core.errors import FunctionUnavailable
from faasd_py.runtime.process import open_stream
from faasd_py.testing.recorder import Pieces, Recorder
from faasd_py.testing.runtime_conformance import request

from .places import Log, eventually, running, script, shell, site


async def stream(machinery, tmp_path, command, invocation=None, **settings):
    """One call; the reply, and the log."""
    log, reply = Log(), Recorder()
    async with open_stream(site(machinery, tmp_path, log=log, command=command, **settings)) as runtime:
        await runtime.invoke(invocation or request("x"), reply)
    return reply, log


async def test_each_piece_is_passed_on_as_it_comes(machinery, tmp_path):
    """The answer begins with the first output, while the function waits for more input."""
    reply, go = Recorder(), trio.Event()
    command = shell("echo first; read line; echo $line")
    async with (
        open_stream(site(machinery, tmp_path, command=command)) as runtime,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(runtime.invoke, request("x", source=Pieces(go.wait, b"second\n")), reply)
        await reply.until(lambda: reply.body == b"first\n")
        assert (reply.status, reply.length, reply.ended) == (200, None, False)
        go.set()
    assert reply.body == b"first\nsecond\n"
    assert reply.ended


async def test_content_type(machinery, tmp_path):
    """Binary, unless the function says otherwise."""
    reply, _ = await stream(machinery, tmp_path, shell("echo x"))
    assert reply.header(b"Content-Type") == b"application/octet-stream"
    reply, _ = await stream(machinery, tmp_path, shell("echo x"), content_type="text/event-stream")
    assert reply.header(b"Content-Type") == b"text/event-stream"
    assert reply.header(b"X-Duration-Seconds") is None


async def test_failure_after_output_is_only_logged(machinery, tmp_path):
    """The answer was a 200 by then."""
    reply, log = await stream(machinery, tmp_path, shell("echo out; exit 3"))
    assert (reply.status, reply.body, reply.ended) == (200, b"out\n", True)
    assert log.texts == ["exit status 3 after the answer had begun"]


async def test_failure_before_output_is_a_500(machinery, tmp_path):
    """Nothing was said yet, so the truth can be."""
    reply, _ = await stream(machinery, tmp_path, shell("exit 3"))
    assert (reply.status, reply.body) == (500, b"exit status 3\n")


async def test_no_output_at_all(machinery, tmp_path):
    """An empty 200."""
    reply, _ = await stream(machinery, tmp_path, ["/bin/true"])
    assert (reply.status, reply.body) == (200, b"")


async def test_all_methods_and_the_environment(machinery, tmp_path):
    """No method is refused; the environment is that of mode fork."""
    command = shell('echo "$Http_Method $Http_Path"')
    reply, _ = await stream(machinery, tmp_path, command, request("x", method=b"OPTIONS", target=b"/p"))
    assert reply.body == b"OPTIONS /p\n"
    reply, _ = await stream(machinery, tmp_path, command, cgi_headers=False)
    assert reply.body == b" \n"


async def test_requests_that_no_process_can_be_started_for(machinery, tmp_path):
    """400 for a NUL in the path, 431 for headers beyond the system's limit."""
    reply, _ = await stream(machinery, tmp_path, ["/bin/cat"], request("x", target=b"/%00"))
    assert reply.status == 400
    reply, _ = await stream(
        machinery, tmp_path, ["/bin/cat"], request("x", headers=b"A: %s\r\n" % (b"x" * 150_000))
    )
    assert reply.status == 431


async def test_a_program_that_cannot_be_executed(machinery, tmp_path):
    """Unavailable, not an empty 200."""
    program = tmp_path / "program"
    program.write_text("nothing")
    program.chmod(0o755)
    with pytest.raises(FunctionUnavailable, match="Exec format error"):
        await stream(machinery, tmp_path, [str(program)])


async def test_stderr_is_logged_while_it_runs(machinery, tmp_path):
    """Or is part of the answer, with combine_output."""
    reply, log = Recorder(), Log()
    command = shell("echo hello >&2; echo out; read line")
    async with open_stream(site(machinery, tmp_path, log=log, command=command)) as runtime:
        go = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runtime.invoke, request("x", source=Pieces(go.wait, b"\n")), reply)
            await eventually(lambda: log.texts == ["hello"])
            go.set()
    combined, log = await stream(machinery, tmp_path, shell("echo e >&2; echo o"), combine_output=True)
    assert (combined.body, log.lines) == (b"e\no\n", [])


async def test_a_flood_is_held_back(machinery, tmp_path):
    """A client that does not read stops the function's writing, without the daemon buffering it."""

    class Stuck(Recorder):
        async def write(self, data):
            await super().write(data)
            await trio.sleep_forever()

    reply, log = Stuck(), Log()
    text = "import os, sys\nn = 0\nwhile True:\n n += os.write(1, bytes(65536)); print(n, file=sys.stderr)"
    async with open_stream(site(machinery, tmp_path, log=log, command=script(text))) as runtime:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runtime.invoke, request("x"), reply)
            await eventually(lambda: log.lines)
            with trio.move_on_after(0.2):
                await eventually(lambda: int(log.texts[-1]) > 4 << 16)
            assert int(log.texts[-1]) <= 4 << 16
            pid = int(log.lines[0][2])
            nursery.cancel_scope.cancel()
        assert not running(pid)


async def test_a_grandchild_that_holds_stdout(machinery, tmp_path):
    """The answer ends soon after the main process does."""
    reply, _ = await stream(machinery, tmp_path, shell("sleep 1000 & echo out"))
    assert (reply.body, reply.ended) == (b"out\n", True)
