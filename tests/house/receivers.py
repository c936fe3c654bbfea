"""Who is called back: an HTTP server in a thread, which keeps what it was sent and answers as it is told to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.house.patience import until

Reply = tuple[int, Mapping[str, str], bytes]


class Received:
    """One request: headers by lower-case name."""

    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self.at = time.time()

    def __repr__(self) -> str:
        return f"<Received {self.method} {self.target} {self.headers} {self.body[:100]!r}>"


class Receiver:
    """A receiver on a loopback address that is not the gateway's own name."""

    def __init__(self, host: str) -> None:
        self.got: list[Received] = []
        self.reply: Callable[[Received], Reply] = lambda _: (204, {}, b"")
        self._server = ThreadingHTTPServer((host, 0), self._handler())
        self._server.daemon_threads = True
        self.host, self.port = host, self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def url(self, path: str = "/hook") -> str:
        return f"http://{self.host}:{self.port}{path}"

    def answers(self, *statuses: int, headers: Mapping[str, str] | None = None) -> None:
        """Answer with these statuses in turn; the last one for good."""
        left = list(statuses)
        lock = threading.Lock()

        def reply(_: Received) -> Reply:
            with lock:
                return (left.pop(0) if len(left) > 1 else left[0]), headers or {}, b""

        self.reply = reply

    def at(self, path: str) -> list[Received]:
        """What came to this path."""
        return [one for one in list(self.got) if one.target == path]

    def wait(self, count: int = 1, path: str = "/hook", within: float = 15.0) -> list[Received]:
        """The first `count` requests to this path, when they are there."""
        until(lambda: len(self.at(path)) >= count, within=within, what=f"{count} requests to {path}")
        return self.at(path)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(5)
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *args: Any) -> None:
                pass

            def do_POST(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Received(self.command, self.path, headers, self.body())
                receiver.got.append(request)
                status, fields, body = receiver.reply(request)
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                if status >= 200 and status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_POST  # noqa: N815

            def body(self) -> bytes:
                if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                whole = b""
                while size := int(self.rfile.readline(), 16):
                    whole += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return whole

        return Handler


@contextmanager
def receiver(host: str = "127.0.0.2") -> Iterator[Receiver]:
    """A receiver that is up; it ends with the block."""
    one = Receiver(host)
    try:
        yield one
    finally:
        one.close()
