"""The thread that writes lines: in order, never in the way, gone at the end."""

import contextlib
import os
import subprocess
import sys
import threading

import pytest

from faasd_py.observe.lines import Lines


@pytest.fixture
def pipe():
    """The two ends of a pipe; whatever is still open is closed."""
    ends = list(os.pipe())
    yield ends
    for fd in ends:
        with contextlib.suppress(OSError):
            os.close(fd)


def fill(fd: int) -> int:
    """Write into a pipe until it is full; how much it was."""
    os.set_blocking(fd, False)
    written = 0
    try:
        while True:
            written += os.write(fd, b"." * 4096)
    except BlockingIOError:
        return written
    finally:
        os.set_blocking(fd, True)


def test_lines_come_in_order(pipe):
    """Everything, once, as it was handed in."""
    lines = Lines(pipe[1])
    for number in range(1000):
        lines.write(b"%d\n" % number)
    assert lines.flush()
    lines.close()
    assert os.read(pipe[0], 1 << 16) == b"".join(b"%d\n" % number for number in range(1000))


def test_a_reader_who_does_not_read_stops_nobody(pipe):
    """What does not fit is dropped at once, and the count is written when there is room again."""
    filled = fill(pipe[1])
    lines = Lines(pipe[1], capacity=100)
    for number in range(1000):
        lines.write(b"%d\n" % number)
    assert not lines.flush(patience=0.01)
    rest = b""
    while b"were dropped" not in rest:
        rest += os.read(pipe[0], 1 << 16)
    lines.close()
    kept = rest[filled:].decode().splitlines()
    dropped = int(kept[-1].split()[0])
    assert kept[0] == "0"
    assert len(kept) - 1 + dropped == 1000
    assert "log lines were dropped" in kept[-1]


def test_a_non_blocking_descriptor_is_waited_for(pipe):
    """Somebody else may have made stderr non-blocking: all lines arrive all the same."""
    os.set_blocking(pipe[1], False)
    lines, got = Lines(pipe[1]), bytearray()
    text = b"".join(b"%06d" % number + b"." * 200 + b"\n" for number in range(2000))

    def read():
        while len(got) < len(text):
            got.extend(os.read(pipe[0], 4096))

    reader = threading.Thread(target=read)
    for line in text.splitlines(keepends=True):
        lines.write(line)
    reader.start()
    assert lines.flush(patience=10)
    reader.join(10)
    lines.close()
    assert bytes(got) == text


def test_a_closed_pipe_ends_the_writing_quietly(pipe):
    """Nobody can read any more: lines go nowhere, and nothing raises."""
    os.close(pipe[0])
    lines = Lines(pipe[1])
    lines.write(b"x\n")
    lines._thread.join(5)
    assert not lines._thread.is_alive()
    lines.write(b"y\n")
    assert lines.flush()
    lines.close()


def test_closing_twice_and_writing_after(pipe):
    """Both do nothing."""
    lines = Lines(pipe[1])
    lines.write(b"x\n")
    lines.close()
    lines.close()
    lines.write(b"y\n")
    assert os.read(pipe[0], 100) == b"x\n"


def test_closing_leaves_the_descriptor_to_its_owner(pipe):
    """The thread writes to a duplicate."""
    lines = Lines(pipe[1])
    lines.close()
    os.write(pipe[1], b"mine")
    assert os.read(pipe[0], 10) == b"mine"


def test_the_last_lines_of_a_program_are_written():
    """Also when the program ends by an exception right after them."""
    code = (
        "import logging; from types import SimpleNamespace as N; from faasd_py.observe import log;"
        "log.setup(N(level='info', format='text')); logging.getLogger('faasd_py.daemon').info('last words');"
        "raise SystemExit(3)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=20)
    assert done.returncode == 3
    assert b"last words" in done.stderr


def test_a_program_ends_although_nobody_reads(pipe):
    """The end waits about a second for a reader who does not come, not for ever."""
    fill(pipe[1])
    code = (
        "import logging; from types import SimpleNamespace as N; from faasd_py.observe import log;"
        "log.setup(N(level='info', format='text')); logging.getLogger('faasd_py.daemon').info('unread')"
    )
    done = subprocess.run([sys.executable, "-c", code], stderr=pipe[1], check=False, timeout=20)
    assert done.returncode == 0
