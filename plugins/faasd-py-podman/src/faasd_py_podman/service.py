"""`podman system service` as our child: started, waited for, started again when it ends, and never left behind."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections import deque
from typing import Final

import trio

from faasd_py.api import PluginError
from faasd_py_podman.options import PLACE
from faasd_py_podman.rest import PodmanError, Rest

log: Final = logging.getLogger("faasd_py_podman")
_ENDS_WITHIN: Final = 5.0
_FIRST_WAIT: Final = 0.25
_LONGEST_WAIT: Final = 10.0
_POLL: Final = 0.02
_LONGEST_LINE: Final = 4096
_ORPHAN_ENDS: Final = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 15)\n"
    "os.getppid() == int(sys.argv[1]) and os.execvp(sys.argv[2], sys.argv[2:])\n"
)
"""PR_SET_PDEATHSIG, SIGTERM: the service ends with the daemon, however that ends."""
_PASSED_ON: Final = (
    "PATH", "HOME", "USER", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "CONTAINERS_CONF",
    "CONTAINERS_STORAGE_CONF", "CONTAINERS_REGISTRIES_CONF", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy",
    "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip
"""Of the daemon's environment; neither its credentials nor its NOTIFY_SOCKET are podman's business."""


class Service:
    """One service process after the other, listening at `rest.socket`."""

    def __init__(self, command: list[str], rest: Rest) -> None:
        self._command = [*command, "system", "service", "--time=0", f"unix://{rest.socket}"]
        self._rest = rest
        self._said: deque[str] = deque(maxlen=3)
        self._answered = False
        self.pid = 0
        """Of the process that runs now; 0: none."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep it up until cancelled; `started` when it answers for the first time.

        Raises:
            PluginError: podman is not there, or its service ended before it answered for the first time.
        """
        if shutil.which(self._command[0]) is None:
            raise PluginError(
                f"{PLACE}.command: there is no program {self._command[0]!r}; install podman (apt-get install podman)"
            )
        failures = 0
        while True:
            began = trio.current_time()
            await self._live(task_status)
            if not self._answered:
                raise PluginError(f"{PLACE}: podman's service does not start: {self._last()}")
            failures = 0 if trio.current_time() - began > _LONGEST_WAIT else failures + 1
            wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(failures, 10))
            log.warning("podman's service ended (%s); it is started again in %gs", self._last(), wait)
            await trio.sleep(wait)

    def _last(self) -> str:
        return self._said[-1] if self._said else "it said nothing"

    async def _live(self, status: trio.TaskStatus[None]) -> None:
        """One process, from its start to its end. When this is cancelled it is ended."""
        await trio.Path(self._rest.socket).unlink(missing_ok=True)
        self._said.clear()
        reading, writing = os.pipe2(os.O_CLOEXEC)
        words = trio.lowlevel.FdStream(reading)
        try:
            process = self._start(writing)
        except OSError as error:
            self._said.append(f"{self._command[0]} cannot be started: {error.strerror}")
            await words.aclose()
            return
        finally:
            os.close(writing)
        self.pid, pidfd = process.pid, os.pidfd_open(process.pid)
        try:
            async with words, trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, words)
                nursery.start_soon(self._tell_when_up, status)
                await trio.lowlevel.wait_readable(pidfd)
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await _end(process, pidfd)
            self.pid = 0
            os.close(pidfd)

    def _start(self, writing: int) -> subprocess.Popen[bytes]:
        """From the daemon's first thread, which lives as long as it does: the kernel watches the thread that forked."""
        shim = [sys.executable, "-I", "-S", "-c", _ORPHAN_ENDS, str(os.getpid())]
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        return subprocess.Popen(
            [*shim, *self._command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=writing,
            env=environment,
            cwd=os.path.dirname(self._rest.socket),  # noqa: PTH120 - conmon may leave a file called `oom` where it is
            start_new_session=True,
        )

    async def _listen(self, words: trio.lowlevel.FdStream) -> None:
        """What it says goes to the debug log; the last of it explains its end."""
        rest = b""
        while piece := await words.receive_some(_LONGEST_LINE):
            *lines, rest = (rest + piece).split(b"\n")
            rest = rest[-_LONGEST_LINE:]
            for line in lines:
                text = line.decode("utf-8", "replace").strip()
                log.debug("podman: %s", text)
                self._said.append(text)

    async def _tell_when_up(self, status: trio.TaskStatus[None]) -> None:
        while not await self._answers():  # noqa: ASYNC110 - another process starts
            await trio.sleep(_POLL)
        if self._answered:
            log.info("podman's service is up again")
        else:
            self._answered = True
            status.started()

    async def _answers(self) -> bool:
        try:
            await self._rest.call("GET", "/_ping")
        except PodmanError:
            return False
        return True


async def _end(process: subprocess.Popen[bytes], pidfd: int) -> None:
    """TERM, then KILL; and reap it."""
    with trio.move_on_after(_ENDS_WITHIN):
        process.terminate()
        await trio.lowlevel.wait_readable(pidfd)
    process.kill()
    process.wait()  # it is dead
