"""The servers that take turns: nginx and Go as yardsticks, faasd-py in three set-ups, and what lies behind them all."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.place import Place, free_port
from tests.bench.processes import Server, serving

NGINX = """
daemon off; master_process off; worker_processes 1; pid {directory}/pid; error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 300s; client_max_body_size 0;
  client_body_temp_path {directory}/1; proxy_temp_path {directory}/2; fastcgi_temp_path {directory}/3;
  uwsgi_temp_path {directory}/4; scgi_temp_path {directory}/5;
  {rest}
}}
"""
UPSTREAM = """
  server {{
    listen 127.0.0.1:{port};
    location / {{ return 200 "{body}"; }}
    location = /status {{ stub_status; }}
  }}
"""
PROXY = """
  upstream behind {{ server 127.0.0.1:{behind}; keepalive 512; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
"""


@contextmanager
def nginx(place: Place, name: str, rest: str, port: int, *, measured: bool) -> Iterator[Server]:
    """One nginx process; on the measured core, or where the client is."""
    directory = place.directory(name)
    config = directory / "nginx.conf"
    config.write_text(NGINX.format(directory=directory, rest=rest))
    command = [_nginx(), "-p", str(directory), "-c", str(config)]
    command = place.on_server_core(command) if measured else command
    with serving(name, command, port, directory / "log") as server:
        yield server


def upstream(place: Place) -> Any:
    """The function behind everybody when bodies are small: reads the request, answers 128 bytes; /status counts."""
    port = free_port()
    return nginx(place, "upstream", UPSTREAM.format(port=port, body="x" * 128), port, measured=False)


def nginx_proxy(place: Place, behind: Server) -> Any:
    """The yardstick of Debian's: one worker, connections to the upstream kept."""
    port = free_port()
    return nginx(place, "nginx", PROXY.format(port=port, behind=behind.port), port, measured=True)


@contextmanager
def go_server(place: Place, program: str, *words: str, measured: bool = True) -> Iterator[Server]:
    """One of tests/bench/go; measured ones have GOMAXPROCS=1."""
    port = free_port()
    command = [str(place.go_binary(program)), f"127.0.0.1:{port}", *words]
    command = place.on_server_core(command) if measured else command
    log = place.work / f"{program}-{port}.log"
    with serving(program, command, port, log, {"GOMAXPROCS": "1"} if measured else None) as server:
        yield server


class Daemon:
    """A faasd-py of its own: config, state and sockets below one directory."""

    def __init__(self, place: Place, name: str, functions: Mapping[str, Any], **tables: Any) -> None:
        self.name = name
        self.directory = place.directory(name)
        self.port, self.metrics_port = free_port(), free_port()
        self.config = self.directory / "config.toml"
        self._place = place
        self.config.write_text(toml(self._settings(functions, tables)))

    def _settings(self, functions: Mapping[str, Any], tables: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "gateway": {"listen": [f"127.0.0.1:{self.port}"]},
            "metrics": {"listen": [f"127.0.0.1:{self.metrics_port}"]},
            "state": {"directory": str(self.state), "runtime_directory": str(self.directory / "run")},
            "queue": {"max_depth": 100_000_000, "max_bytes": 1 << 40},
            "auth": {"enabled": False},
            "log": {"level": "warning"},
            **tables,
            "functions": functions,
        }

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def words(self) -> list[str]:
        """What a person would type."""
        return [sys.executable, "-m", "faasd_py", "up", "--config", str(self.config)]

    @property
    def command(self) -> list[str]:
        return self._place.on_server_core(self.words)

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @contextmanager
    def up(self) -> Iterator[Server]:
        with serving(self.name, self.command, self.port, self.log) as server:
            yield server


def toml(tables: Mapping[str, Any], path: str = "") -> str:
    """The tables as TOML: JSON's strings, numbers, booleans and arrays are TOML's, and a quoted key may be any string."""
    quoted = {json.dumps(key): value for key, value in tables.items()}
    plain = [f"{key} = {json.dumps(value)}" for key, value in quoted.items() if not isinstance(value, dict)]
    below = [
        f"\n[{path}{key}]\n{toml(value, f'{path}{key}.')}"
        for key, value in quoted.items()
        if isinstance(value, dict)
    ]
    return "\n".join(plain + below)


def _nginx() -> str:
    return next(
        (path for path in ("/usr/sbin/nginx", "/usr/local/sbin/nginx") if os.access(path, os.X_OK)), "nginx"
    )
