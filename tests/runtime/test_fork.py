"""Mode fork, as OpenFaaS' classic-watchdog behaves (wire contract §5.2), and what can go wrong with a process."""

from __future__ import annotations

import os
import signal
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from faasd_py.config import LimitSettings
from faasd_py.core.errors import ConfigError, FunctionUnavailable
from faasd_py.runtime import output
from faasd_py.runtime.fork import Collecting
from faasd_py.runtime.machinery import open_machinery
from faasd_py.runtime.output import Output
from faasd_py.runtime.process import open_fork
from faasd_py.runtime.run import LINGER, describe
from faasd_py.testing.recorder import Pieces, Recorder
from faasd_py.testing.runtime_conformance import request

from .places import Log, eventually, running, script, shell, site


@asynccontextmanager
async def forked(machinery, command, tmp_path=Path("/nonexistent"), **settings):
    log = Log()
    async with open_fork(site(machinery, tmp_path, log=log, command=command, **settings)) as runtime:

        async def call(invocation=None):
            reply = Recorder()
            await runtime.invoke(invocation or request("x"), reply)
            return reply

        call.log, call.runtime = log, runtime
        yield call


async def test_the_environment_is_the_request(machinery):
    """Http_ variables say method, path (decoded), query, host, length and every header; nothing of ours is added."""
    async with forked(machinery, ["/usr/bin/env"], environment={"OWN": "1", "LANG": "C"}) as call:
        headers = b"x-token: t\r\nX-Token: second\r\nContent-Type: a/b\r\n"
        reply = await call(request("x", b"four", method=b"PUT", target=b"/a%20b/c?q=%20", headers=headers))
    seen = dict(line.split("=", 1) for line in reply.body.decode().splitlines())
    assert seen.pop("PATH") == os.environ["PATH"]
    assert {key for key in seen if not key.startswith("Http_")} <= {
        "HOME", "LANG", "TZ", "LC_ALL", "LC_CTYPE", "LANGUAGE", "TMPDIR", "OWN", "OPENFAAS_NAME", "OPENFAAS_NAMESPACE",
    }  # fmt: skip
    assert seen["OWN"] == "1"
    assert seen["LANG"] == "C"
    assert seen["OPENFAAS_NAME"] == "f"
    assert {key: value for key, value in seen.items() if key.startswith("Http_")} == {
        "Http_Method": "PUT",
        "Http_Path": "/a b/c",
        "Http_Query": "q=%20",
        "Http_Host": "gateway.test",
        "Http_Content_Length": "4",
        "Http_ContentLength": "4",
        "Http_Content_Type": "a/b",
        "Http_X_Token": "t",
        "Http_X_Subject": "x",
        "Http_X_Call_Id": "call-1",
    }


async def test_a_body_of_unknown_length(machinery):
    """It is told as -1 and chunked."""
    async with forked(machinery, ["/usr/bin/env"]) as call:
        reply = await call(request("x", source=Pieces(b"a")))
    assert b"Http_Content_Length=-1\n" in reply.body
    assert b"Http_Transfer_Encoding=chunked\n" in reply.body


async def test_without_cgi_headers(machinery):
    """cgi_headers = false: nothing of the request is in the environment."""
    async with forked(machinery, ["/usr/bin/env"], cgi_headers=False) as call:
        assert b"Http_" not in (await call()).body


async def test_exit_0_is_a_200(machinery):
    """Status 200, the output, its duration in seconds with six decimals."""
    async with forked(machinery, shell("echo hi")) as call:
        reply = await call()
    assert (reply.status, reply.body) == (200, b"hi\n")
    whole, _, decimals = reply.header(b"X-Duration-Seconds").partition(b".")
    assert whole.isdigit()
    assert len(decimals) == 6


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("echo out; exit 3", b"exit status 3\nout\n"),
        ("echo out; kill -9 $$", b"signal: killed\nout\n"),
        ("echo out; kill -TERM $$", b"signal: terminated\nout\n"),
    ],
)
async def test_failure_is_a_500(machinery, command, text):
    """A status or a signal, in Go's words, then the output; it is the function's answer, not the platform's."""
    async with forked(machinery, shell(command)) as call:
        reply = await call()
    assert (reply.status, reply.body) == (500, text)
    assert reply.header(b"Content-Type") == b"text/plain; charset=utf-8"
    assert reply.header(b"X-Duration-Seconds") is None
    assert reply.header(b"X-OpenFaaS-Internal") is None


def test_describe():
    """Wait statuses read as Go's ProcessState does."""
    assert describe(3 << 8) == "exit status 3"
    assert describe(signal.SIGSEGV) == "signal: segmentation fault"
    assert describe(signal.SIGABRT | 0x80) == "signal: aborted (core dumped)"


@pytest.mark.parametrize(
    ("settings", "headers", "body", "kind"),
    [
        ({"content_type": "image/x"}, b"Content-Type: a/b\r\n", b"text", b"image/x"),
        ({}, b"content-type:  a/b; c=d \r\n", b"text", b"a/b; c=d"),
        ({}, b"", b"text", b"text/plain; charset=utf-8"),
        ({}, b"", b"<!DOCTYPE HTML>", b"text/html; charset=utf-8"),
        ({}, b"", b"\x00\x01", b"application/octet-stream"),
    ],
)
async def test_content_type(machinery, settings, headers, body, kind):
    """The function's setting, else the request's own, else what the output looks like."""
    async with forked(machinery, ["/bin/cat"], **settings) as call:
        assert (await call(request("x", body, headers=headers))).header(b"Content-Type") == kind


@pytest.mark.parametrize("method", [b"HEAD", b"OPTIONS", b"PROPFIND"])
async def test_other_methods(machinery, method):
    """Not POST, PUT, PATCH, DELETE, GET: 405 and empty, without a process."""
    async with forked(machinery, ["/bin/cat"]) as call:
        reply = await call(request("x", method=method))
    assert (reply.status, reply.body) == (405, b"")
    assert reply.header(b"Allow") == b"DELETE, GET, PATCH, POST, PUT"
    assert machinery.helpers == []


async def test_stderr_goes_to_the_log(machinery):
    """Line by line, with the process and the call; the answer has none of it."""
    async with forked(
        machinery,
        shell("echo one >&2; echo out; printf two >&2; echo $$ >&3"),
    ) as call:
        reply = await call()
        assert reply.status == 500  # fd 3 is not open: nothing but the three streams is
        assert call.log.lines[0][:2] == ("stderr", "one")
        assert call.log.lines[0][3] == "call-1"
        assert int(call.log.lines[0][2]) > 0
        assert any(text.startswith("two") for text in call.log.texts)


async def test_combine_output(machinery):
    """Standard error is part of the answer, in order."""
    async with forked(machinery, shell("echo a; echo b >&2; echo c"), combine_output=True) as call:
        assert (await call()).body == b"a\nb\nc\n"
        assert call.log.lines == []


async def test_a_flood_on_stderr(machinery):
    """Megabytes of it neither block the function nor its answer."""
    text = "import sys\nfor _ in range(20000): sys.stderr.write('x' * 99 + '\\n')\nprint('done')"
    async with forked(machinery, script(text)) as call:
        assert (await call()).body == b"done\n"
        assert len(call.log.lines) >= 19000


async def test_garbage_on_stderr(machinery):
    """Bytes that are no text, and a line without end, are cut and made readable."""
    text = "import os\nos.write(2, b'\\xff\\xfe\\x00' + b'y' * 40000)"
    async with forked(machinery, script(text)) as call:
        assert (await call()).status == 200
        assert sum(len(text) for text in call.log.texts) == 40003
        assert max(len(text) for text in call.log.texts) <= 16384


async def test_a_function_that_never_reads(machinery):
    """A body larger than a pipe, given whole or streamed, is left where it is."""
    async with forked(machinery, shell("echo done")) as call:
        assert (await call(request("x", bytes(1 << 20)))).body == b"done\n"
        source = Pieces(*[bytes(1 << 18)] * 8)
        assert (await call(request("x", source=source, length=8 << 18))).body == b"done\n"


async def test_a_function_that_closes_its_streams_early(machinery):
    """Output closed, and still running: the answer waits for the exit status."""
    async with forked(machinery, shell("echo out; exec >&- 2>&- <&-; sleep 0.1; exit 4")) as call:
        reply = await call()
    assert (reply.status, reply.body) == (500, b"exit status 4\nout\n")


async def test_a_grandchild_that_holds_stdout(machinery, tmp_path):
    """The answer waits LINGER for it, not longer, and then it is killed."""
    pid_file = tmp_path / "pid"
    async with forked(machinery, shell(f"sleep 1000 & echo $! > {pid_file}; echo out")) as call:
        before = trio.current_time()
        reply = await call()
        assert (reply.status, reply.body) == (200, b"out\n")
        assert trio.current_time() - before < LINGER + 5
        await eventually(lambda: not running(int(pid_file.read_text())))


async def test_a_grandchild_that_finishes_the_output(machinery):
    """What comes within LINGER after the main process has ended is part of the answer."""
    async with forked(machinery, shell("(sleep 0.1; echo late) & echo out")) as call:
        assert (await call()).body == b"out\nlate\n"


async def test_a_grandchild_without_our_pipes(machinery, tmp_path):
    """It holds up nothing, and is killed when the call is over."""
    pid_file = tmp_path / "pid"
    command = shell(f"sleep 1000 >/dev/null 2>&1 & echo $! > {pid_file}")
    async with forked(machinery, command) as call:
        await call()
        await eventually(lambda: not running(int(pid_file.read_text())))
        await eventually(lambda: machinery.children == [])


async def test_a_grandchild_that_left_the_group(machinery, tmp_path):
    """By setsid it escapes the group: the answer does not wait for it, and the machinery's end is its end."""
    pid_file = tmp_path / "pid"
    command = shell(f"setsid sh -c 'echo $$ > {pid_file}; exec sleep 1000' & echo out")
    async with open_machinery() as own, forked(own, command) as call:
        assert (await call()).body == b"out\n"
        await eventually(pid_file.exists)
    assert not running(int(pid_file.read_text()))


async def cancelled(call, pid_file, **request_options):
    """Start a call, wait until it runs, cancel it; the pid it wrote."""
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await eventually(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"))
            nursery.cancel_scope.cancel()
    return int(pid_file.read_text())


async def test_cancelling_ends_the_group(machinery, tmp_path):
    """TERM reaches the process and its children; when `invoke` returns they are gone."""
    pid_file = tmp_path / "pid"
    async with forked(machinery, shell(f"sleep 1000 & echo $! > {pid_file}; wait")) as call:
        pid = await cancelled(call, pid_file)
        assert not running(pid)
        assert machinery.children == []


async def test_cancelling_what_ignores_term(machinery, tmp_path):
    """KILL after kill_grace, for the whole group."""
    pid_file = tmp_path / "pid"
    command = shell(
        f"trap '' TERM; sh -c 'trap \"\" TERM; sleep 1000 & wait' & echo $! > {pid_file}; wait; wait"
    )
    async with forked(machinery, command, kill_grace=0.2) as call:
        pid = await cancelled(call, pid_file)
        assert machinery.children == []
        await eventually(lambda: not running(pid))


async def test_a_stopped_process_can_be_ended(machinery, tmp_path):
    """SIGSTOP does not protect it."""
    pid_file = tmp_path / "pid"
    async with forked(machinery, shell(f"echo $$ > {pid_file}; kill -STOP $$"), kill_grace=5) as call:
        pid = await cancelled(call, pid_file)
        assert not running(pid)


async def test_signals_are_as_usual(machinery):
    """Nothing is blocked or ignored in the function, though the daemon ignores SIGPIPE."""
    async with forked(machinery, shell("grep -E '^Sig(Blk|Ign)' /proc/self/status")) as call:
        masks = [int(line.split()[1], 16) for line in (await call()).body.decode().splitlines()]
    internal = 3 << 31  # 32 and 33 are glibc's own; its posix_spawn has them ignored
    assert [mask & ~internal for mask in masks] == [0, 0]


async def test_only_the_three_streams_are_open(machinery):
    """No descriptor of the daemon or its helper is inherited."""
    text = "import os; print(sorted(int(n) for n in os.listdir('/proc/self/fd')))"
    async with forked(machinery, script(text)) as call:
        assert (await call()).body == b"[0, 1, 2, 3]\n"  # 3 is the listing itself


async def test_own_process_group(machinery):
    """Ctrl-C at the daemon's terminal does not reach functions."""
    text = "import os; print(os.getpgrp() == os.getpid(), os.getsid(0) != os.getpid())"
    async with forked(machinery, script(text)) as call:
        assert (await call()).body == b"True True\n"


async def test_a_nul_in_the_path(machinery):
    """No environment can hold it: 400, and no process."""
    async with forked(machinery, ["/bin/cat"]) as call:
        reply = await call(request("x", target=b"/a%00b"))
    assert (reply.status, reply.body) == (
        400,
        b"the path has a NUL byte, which no environment variable can hold\n",
    )
    assert machinery.helpers == []


@pytest.mark.parametrize("size", [150_000, 400_000])
async def test_headers_too_large_for_an_environment(machinery, size):
    """431, whether the kernel refuses (128 KiB a variable) or the message to the helper is too large; then all is well."""
    async with forked(machinery, ["/bin/cat"]) as call:
        reply = await call(request("x", headers=b"X-Big: " + b"x" * size + b"\r\n"))
        assert reply.status == 431
        assert (await call(request("x", b"fine"))).body == b"fine"


async def test_a_program_that_cannot_be_executed(machinery, tmp_path):
    """A file without a #! line is found when it is started: the function is unavailable, with the reason."""
    program = tmp_path / "program"
    program.write_text("no program\n")
    program.chmod(0o755)
    async with forked(machinery, [str(program)]) as call:
        with pytest.raises(FunctionUnavailable, match="cannot be started: Exec format error"):
            await call()


async def test_a_program_that_was_removed(machinery, tmp_path):
    """As when it never was there; it works again when it is back."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho here\n")
    program.chmod(0o755)
    async with forked(machinery, ["./program"], working_directory=str(tmp_path)) as call:
        assert (await call()).body == b"here\n"
        program.rename(tmp_path / "away")
        with pytest.raises(FunctionUnavailable, match="No such file or directory"):
            await call()
        (tmp_path / "away").rename(program)
        assert (await call()).body == b"here\n"


async def test_a_working_directory_that_was_removed(machinery, tmp_path):
    """The reason says that it is the directory."""
    directory = tmp_path / "work"
    directory.mkdir()
    async with forked(machinery, ["/bin/pwd"], working_directory=str(directory)) as call:
        assert (await call()).body == f"{directory}\n".encode()
        directory.rmdir()
        with pytest.raises(FunctionUnavailable, match="its working directory: No such file"):
            await call()


async def test_what_cannot_be_run_is_refused_at_once(machinery, tmp_path):
    """A missing program is an error of opening, with the key."""
    with pytest.raises(
        ConfigError, match=r"functions.f.command: there is no program 'nonesuch' that can be run"
    ):
        async with forked(machinery, ["nonesuch"]):
            pass


async def test_open_files(machinery):
    """limits.open_files sets the soft limit at birth and the hard one at once after, and of no other process."""
    async with forked(
        machinery, shell("ulimit -Sn; sleep 0.1; ulimit -Hn"), limits=LimitSettings(open_files=77)
    ) as call:
        assert (await call()).body == b"77\n77\n"
    async with forked(machinery, shell("ulimit -Sn")) as call:
        assert int((await call()).body) > 77


async def test_secrets(machinery, tmp_path):
    """$SECRETS_DIR holds the function's secrets and no others."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "token").write_text("s3cret")
    (secrets / "other").write_text("no")
    command = shell("ls $SECRETS_DIR; cat $SECRETS_DIR/token")
    async with open_fork(with_secrets(machinery, tmp_path, secrets, command)) as runtime:
        reply = Recorder()
        await runtime.invoke(request("x"), reply)
    assert reply.body == b"token\ns3cret"


def with_secrets(machinery, tmp_path, secrets, command):
    place = site(machinery, tmp_path / "own", secrets=secrets, command=command)
    return msgspec.structs.replace(place, settings=msgspec.structs.replace(place.settings, secrets=["token"]))


@pytest.fixture
def small(monkeypatch):
    """Output goes to the file after 64 KiB, and is full at 1 MiB."""
    monkeypatch.setattr(output, "MEMORY", 64 << 10)
    monkeypatch.setattr(output, "DISK", 1 << 20)
    monkeypatch.setattr("faasd_py.runtime.fork.MEMORY", 64 << 10)


async def test_a_large_output_waits_in_a_file(machinery, small):
    """Its status and length are known when the answer begins."""
    async with forked(machinery, shell("head -c 500000 /dev/zero")) as call:
        reply = await call()
        assert (reply.status, reply.length, reply.body) == (200, 500_000, bytes(500_000))
    async with forked(machinery, shell("head -c 500000 /dev/zero; exit 2")) as call:
        reply = await call()
        assert (reply.status, reply.body) == (500, b"exit status 2\n" + bytes(500_000))


async def test_a_huge_output_begins_before_the_status(machinery, small):
    """It is a 200 of unknown length; failure can then only break it off."""
    async with forked(machinery, shell("head -c 3000000 /dev/zero")) as call:
        reply = await call()
        assert (reply.status, reply.length, len(reply.body)) == (200, None, 3_000_000)
    async with forked(machinery, shell("head -c 3000000 /dev/zero; exit 2")) as call:
        with pytest.raises(FunctionUnavailable, match="exit status 2 after its answer had begun"):
            await call()


async def test_no_room_for_the_output(machinery, small, monkeypatch):
    """A full disk makes the answer begin early; nothing is lost."""

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    async with forked(machinery, shell("head -c 300000 /dev/zero")) as call:
        reply = await call()
        assert (reply.status, reply.length, len(reply.body)) == (200, None, 300_000)


async def test_an_endless_output_stops_with_its_caller(machinery, small):
    """`yes` fills neither memory nor disk, and dies when the client goes away."""
    async with forked(machinery, shell("echo $$ >&2; exec yes")) as call:
        reply = Recorder()
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call.runtime.invoke, request("x"), reply)
                await reply.until(lambda: len(reply.body) > 2 << 20)
                nursery.cancel_scope.cancel()
        assert not running(int(call.log.texts[0]))


async def test_many_bodies_and_answers_of_all_sizes(machinery):
    """Around every limit of pipes and buffers, nothing is lost or doubled."""
    async with forked(machinery, ["/bin/cat"]) as call:
        for size in (
            1,
            4095,
            4096,
            4097,
            61439,
            65535,
            65536,
            65537,
            131072,
            (1 << 20) - 1,
            1 << 20,
            (1 << 20) + 1,
        ):
            body = os.urandom(size)
            assert (await call(request("x", body))).body == body


async def test_news_of_a_process_whose_output_is_large(machinery, small, monkeypatch):
    """That it runs may be heard at any moment, also while its output is being written to the file: nothing is lost."""
    real = Output.spill
    runs = []

    async def spill(self):
        run = next(run for run in runs if run.output is self)
        run.on_running()
        await real(self)
        run.on_running()

    def started(*arguments):
        runs.append(Collecting(*arguments))
        return runs[-1]

    monkeypatch.setattr(Output, "spill", spill)
    monkeypatch.setattr("faasd_py.runtime.fork.Collecting", started)
    body = os.urandom(700_001)
    async with forked(machinery, ["/bin/cat"]) as call:
        for _ in range(5):
            assert (await call(request("x", body))).body == body
