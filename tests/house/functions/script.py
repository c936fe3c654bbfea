"""A function that is one process per call: its first argument says how it is to behave.

What it did goes to the file $RECORD, one JSON line in one write.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

CALL = os.environ.get("Http_X_Call_Id", "")  # noqa: SIM112 - as classic-watchdog spells it


def record(**facts):
    """Append one line, in one write."""
    line = {"call": CALL, "at": time.time(), "pid": os.getpid()} | facts
    file = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, json.dumps(line).encode() + b"\n")
    os.close(file)


def tell():
    """Its environment and its input, as JSON."""
    told = {
        "env": dict(os.environ),
        "body": sys.stdin.buffer.read().decode("latin-1"),
        "cwd": str(Path.cwd()),
    }
    told["fds"] = sorted(int(path.name) for path in Path("/proc/self/fd").iterdir())
    sys.stdout.write(json.dumps(told))


def note():
    """Record the body that came and be done."""
    body = sys.stdin.buffer.read()
    record(body=body[:4096].decode("latin-1"), size=len(body))
    sys.stdout.buffer.write(b"noted\n")


def fail():
    """Record it, complain, and end with the status that is asked for."""
    record()
    sys.stderr.write("it went wrong\n")
    sys.stdout.write("what came so far\n")
    sys.exit(int(sys.argv[2]))


def sleep():
    """Sleep as long as the body says."""
    seconds = float(sys.stdin.buffer.read() or 60)
    record()
    time.sleep(seconds)
    sys.stdout.write("slept\n")


def stubborn():
    """As sleep, and the friendly signal is ignored."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleep()


def family():
    """Start a child and a grandchild that outlive it, then sleep."""
    command = "sleep 300 & sleep 300"
    subprocess.Popen(["/bin/sh", "-c", command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sleep()


def leave():
    """Leave a grandchild behind that holds stdout and stderr open, and be done at once."""
    subprocess.Popen(["/bin/sleep", "300"])
    record()
    sys.stdout.write("gone\n")


def flood():
    """Ten megabytes on stderr, then an answer."""
    for _ in range(10 * 16):
        sys.stderr.write("x" * 65535 + "\n")
    sys.stdout.write("still here\n")


def endless_line():
    """Eight megabytes on stderr without an end of line, then an answer."""
    for _ in range(128):
        sys.stderr.write("y" * 65536)
    sys.stdout.write("still here\n")


def binary_log():
    """Bytes that are no text on stderr, then an answer."""
    sys.stderr.buffer.write(bytes(range(256)) * 4 + b"\n\x1b[31mred\x1b[0m\n")
    sys.stdout.write("still here\n")


def deaf():
    """Answer without reading anything."""
    os.close(0)
    sys.stdout.write("unread\n")


def big():
    """As many bytes of answer as the second argument says."""
    left = int(sys.argv[2])
    while left > 0:
        left -= sys.stdout.buffer.write(b"z" * min(65536, left))


def bytes_out():
    """All bytes there are."""
    sys.stdout.buffer.write(bytes(range(256)))


def closes():
    """Close stdout and go on working."""
    sys.stdout.write("early\n")
    sys.stdout.flush()
    os.close(1)
    time.sleep(0.2)
    record()
    os._exit(0)


def suicide():
    """End by a signal."""
    record()
    os.kill(os.getpid(), signal.SIGKILL)


def poison():
    """Kill whoever the file of this name says, without mercy, and wait to be killed."""
    record()
    os.kill(int(Path(sys.argv[2]).read_text()), signal.SIGKILL)
    time.sleep(30)


if __name__ == "__main__":
    globals()[sys.argv[1].replace("-", "_")]()
