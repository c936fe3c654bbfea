"""A whole daemon as a real process: its config.toml, its ports, its command line, its end."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.house.patience import until
from tests.house.toml import toml
from tests.house.wire import Answer, UnixConnection, ask, ask_on

FUNCTIONS = Path(__file__).with_name("functions")
PYTHON = [sys.executable, "-I", "-S"]
Settings = dict[str, Any]


def free_port() -> int:
    """A port outside the range that the kernel gives to outgoing connections, and that nobody has now."""
    while True:
        port = random.randrange(10240, 20000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def service(root: Path, **more: Any) -> Settings:
    """An http function: functions/service.py, or the file that `script` names."""
    script = more.pop("script", "service.py")
    environment = {"RECORD": str(root / "record")} | more.pop("environment", {})
    command = [*PYTHON, str(FUNCTIONS / script)]
    return {"mode": "http", "command": command, "environment": environment, **more}


def script(root: Path, *words: str, **more: Any) -> Settings:
    """A fork function: functions/script.py, behaving as `words` say."""
    environment = {"RECORD": str(root / "record")} | more.pop("environment", {})
    command = [*PYTHON, str(FUNCTIONS / "script.py"), *words]
    return {"command": command, "environment": environment, **more}


class Daemon:
    """One daemon, running or not: everything it has lies below `root`, and `root` is in every process's environment."""

    def __init__(self, root: Path, functions: Mapping[str, Settings], **tables: Settings) -> None:
        self.root = root
        self.port = free_port()
        self.state = root / "state"
        self.config = root / "config.toml"
        self.process: subprocess.Popen[bytes] | None = None
        self.surroundings: dict[str, str] = {}
        """Variables that the daemon is started with, besides its own."""
        self.tables: Settings = {
            "gateway": {"listen": [f"127.0.0.1:{self.port}"]},
            "metrics": {"listen": []},
            "state": {"directory": str(self.state), "runtime_directory": str(root / "run")},
            "workers": {"grace": "5s"},
            "callback": {"allow": ["public", "private", "loopback"], "schedule": ["50ms"] * 4},
            "auth": {"enabled": False},
            "functions": dict(functions),
        }
        for name, table in tables.items():
            self.tables[name] = self.tables.get(name, {}) | table
        self.write()

    def write(self) -> None:
        """Write config.toml from `tables`."""
        self.config.write_text(toml(self.tables))

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.root), "FAASD_PY_CONFIG": str(self.config)}

    @property
    def log(self) -> str:
        """Everything the daemon said so far, in all its lives."""
        path = self.root / "log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    # its life

    def start(self, *, wait: bool = True, through: str = "") -> None:
        """Start it; with `wait`, return when the door is open. `through`: shell words that `exec "$@"` in the end."""
        command = [sys.executable, "-m", "faasd_py", "up", "--config", str(self.config)]
        if through:
            command = ["/bin/sh", "-c", through, "sh", *command]
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment | self.surroundings,
                cwd=self.root,
                start_new_session=True,
            )
        (self.root / "pid").write_text(str(self.process.pid))
        if wait:
            self.wait_open()

    def wait_open(self, within: float = 20.0) -> None:
        """Return when the door takes connections; an error when the daemon ended instead."""
        until(self._open, within=within, what="the door opens")

    def _open(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.log[-3000:]}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def wait_healthy(self, within: float = 20.0) -> None:
        """Return when /healthz says so: then the control plane is there, too."""
        until(
            lambda: self.ask("GET", "/healthz").status == 200, within=within, every=0.03, what="it is healthy"
        )

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, within: float = 30.0) -> int:
        """The exit status, when it has ended."""
        assert self.process is not None
        return self.process.wait(within)

    def stop(self, number: int = signal.SIGTERM, within: float = 30.0) -> int:
        self.send(number)
        return self.wait(within)

    def kill(self) -> None:
        """As kill -9 does: nothing of it has time for anything."""
        self.stop(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def reload(self) -> None:
        self.write()
        self.send(signal.SIGHUP)

    def close(self) -> None:
        """End it and whatever it left behind, at once: how it stops when it is asked to is a matter for tests."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        for pid in self.family():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def family(self) -> list[int]:
        """The processes that are or were this daemon's own, by their environment."""
        mark = os.fsencode(self.root)
        return [pid for pid in pids() if pid != os.getpid() and mark in environ(pid)]

    # its work

    def ask(
        self, method: str, target: str, body: Any = None, headers: Any = (), timeout: float = 30.0
    ) -> Answer:
        """One request to the door, and its answer."""
        return ask(self.port, method, target, body, headers, timeout=timeout)

    @property
    def credentials(self) -> tuple[str, str]:
        """User and password that the daemon made for itself at its first start (with `auth={"enabled": True}`)."""
        files = [self.state / "auth" / name for name in ("basic-auth-user", "basic-auth-password")]
        user, password = (path.read_text().strip() for path in files)
        return user, password

    @property
    def authorization(self) -> dict[str, str]:
        """The header that goes with `credentials`; none when the daemon has none."""
        if not (self.state / "auth" / "basic-auth-password").exists():
            return {}
        return {"Authorization": "Basic " + base64.b64encode(":".join(self.credentials).encode()).decode()}

    def system(
        self, method: str, target: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request of an operator's through the door, `/system/…`: with the credentials, and a body that is no bytes as JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        return self.ask(method, target, body, self.authorization | dict(headers or {}))

    def put(self, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> str:
        """Put an asynchronous call to `NAME/path`; its id. It must be accepted."""
        answer = self.ask("POST", f"/async-function/{target}", body, headers or {})
        assert answer.status == 202, answer
        return answer.headers["x-queue-id"]

    def ran(self, word: str = "") -> list[Settings]:
        """What the functions recorded, in order: the requests whose line has `word`."""
        path = self.root / "record"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if word in line]

    def cli(self, *words: str, within: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run the command line beside it."""
        return subprocess.run(
            [sys.executable, "-m", "faasd_py", *words],
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.root,
            timeout=within,
            check=False,
        )

    def show(self, call: str) -> Settings:
        """What `calls show --json` says of a call."""
        done = self.cli("calls", "show", call, "--json")
        assert done.returncode == 0, (done.stdout, done.stderr)
        shown: Settings = json.loads(done.stdout)
        return {"reason": "", "status": None} | shown

    def listed(self, *words: str) -> list[Settings]:
        """What `calls list` says."""
        done = self.cli("calls", "list", *words, "--json")
        assert done.returncode == 0, (done.stdout, done.stderr)
        rows: list[Settings] = json.loads(done.stdout)
        return rows

    def state_of(self, call: str) -> str:
        """The call's state, in capitals; empty when it is unknown."""
        answer = self._admin(f"/system/calls/{call}")
        return str(answer["state"]).upper() if "state" in answer else ""

    def _admin(self, target: str) -> Settings:
        """What the private socket says, as the command line is told it; empty while it is not there."""
        try:
            with closing(UnixConnection(self.root / "run" / "admin.sock")) as connection:
                return dict(ask_on(connection, "GET", target, headers={"Host": "x"}).json())
        except (FileNotFoundError, ConnectionError):
            return {}

    def wait_state(self, call: str, *states: str, within: float = 15.0) -> Settings:
        """The call's record, when it is in one of these states."""
        until(lambda: self.state_of(call) in states, within=within, every=0.03, what=f"{call} is {states}")
        return {"reason": "", "status": None} | self._admin(f"/system/calls/{call}")

    def idle(self) -> bool:
        """Nothing waits and nothing runs."""
        figures = self._admin("/system/queue")
        return bool(figures) and not any(figures[state] for state in ("ready", "leased", "delayed"))

    def spooled(self) -> list[Path]:
        """The files in the state directory that are not the store itself: large bodies."""
        store = (".sqlite", ".sqlite-wal", ".sqlite-shm", "lock", "reserve")
        kept = [path for path in self.state.rglob("*") if path.is_file() and not path.name.endswith(store)]
        return [path for path in kept if path.parent.name != "auth" and "logs" not in path.parts]


@contextmanager
def running(root: Path, functions: Mapping[str, Settings], **tables: Settings) -> Iterator[Daemon]:
    """A daemon that is up; it ends with the block."""
    daemon = Daemon(root, functions, **tables)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()


def pids() -> Iterable[int]:
    """The processes there are."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def environ(pid: int) -> bytes:
    """The environment a process was started with; empty when it is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def seconds(start: float) -> float:
    """Since then, by the monotonic clock."""
    return time.monotonic() - start
