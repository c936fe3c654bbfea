"""An HTTP function in nothing but the standard library: the path says how it is to behave.

It listens on 127.0.0.1:$PORT, or on $UNIX_SOCKET, and appends one JSON line for each request to the file $RECORD, each
in one write, so that lines of several processes never mix and nothing written is lost when this process is killed.
"""

import contextlib
import hashlib
import json
import os
import socket
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LOCK = threading.Lock()
GATES = {}
SEEN = {}
CROWD = {"now": 0, "most": 0}


def gate(name):
    """The event of this name; made by whoever asks first."""
    with LOCK:
        return GATES.setdefault(name, threading.Event())


def times(key):
    """How often this was asked with this key, now included."""
    with LOCK:
        SEEN[key] = SEEN.get(key, 0) + 1
        return SEEN[key]


def raised(name):
    """Whether there is the file $RECORD.NAME, or $RECORD.NAME-PID."""
    path = f"{os.environ['RECORD']}.{name}"
    return Path(path).exists() or Path(f"{path}-{os.getpid()}").exists()


def note_start():
    """One line in $RECORD.starts for each process."""
    with Path(os.environ["RECORD"] + ".starts").open("a") as file:
        file.write(f"{os.getpid()}\n")


class Handler(BaseHTTPRequestHandler):
    """One connection; `do` runs the method that the first part of the path names."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 120

    def log_message(self, *args):
        pass

    def address_string(self):
        return "peer"

    def handle(self):
        with contextlib.suppress(OSError):
            super().handle()

    def do(self):
        path = self.path.partition("?")[0]
        self.parts = [part for part in path.split("/") if part]
        name = self.parts[0] if self.parts else "tell"
        if name in {"never", "early"}:
            self.record(b"")
            getattr(self, name)()
            return
        self.body = self.read_body()
        self.record(self.body)
        getattr(self, name.replace("-", "_"), self.tell)()
        with contextlib.suppress(OSError):
            self.wfile.flush()

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.do
        raise AttributeError(name)

    def read_body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(body)

    def record(self, body):
        line = {
            "call": self.headers.get("X-Call-Id", ""),
            "method": self.command,
            "target": self.path,
            "headers": [list(item) for item in self.headers.items()],
            "body": body[:4096].decode("latin-1"),
            "size": len(body),
            "at": time.time(),
            "pid": os.getpid(),
        }
        file = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, json.dumps(line).encode() + b"\n")
        os.close(file)

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def part(self, index):
        return self.parts[index]

    # what a path may ask for

    def burn(self):
        """Use the processor for a while."""
        end = time.thread_time() + 0.2
        while time.thread_time() < end:
            pass
        self.answer(200)

    def tell(self):
        told = {
            "method": self.command,
            "target": self.path,
            "headers": [list(item) for item in self.headers.items()],
            "body": self.body[:4096].decode("latin-1"),
            "size": len(self.body),
            "sha256": hashlib.sha256(self.body).hexdigest(),
            "pid": os.getpid(),
        }
        self.answer(200, json.dumps(told).encode(), Content_Type="application/json")

    def echo(self):
        self.answer(200, self.body, Content_Type=self.headers.get("Content-Type", "text/plain"))

    def status(self):
        self.answer(int(self.part(1)), b"as asked\n", Content_Type="text/plain", X_From="the function")

    def fail(self):
        failed = times(("fail", self.path, self.headers.get("X-Call-Id"))) <= int(self.part(1))
        self.answer(500 if failed else 200, b"failed\n" if failed else b"at last\n")

    def limit(self):
        if times(("limit", self.path, self.headers.get("X-Call-Id"))) <= int(self.part(1)):
            self.answer(
                int(self.parts[3]) if len(self.parts) > 3 else 429, b"not now\n", Retry_After=self.part(2)
            )
        else:
            self.answer(200, b"now\n")

    def no_retry(self):
        self.answer(500, b"never again\n", X_No_Retry="1")

    def later(self):
        time.sleep(float(self.part(1)))
        self.answer(200, b"later\n")

    def flag(self):
        """503 while the file $RECORD.NAME, or that of this process alone, is there."""
        self.answer(503 if raised(self.part(1)) else 200)

    def lonely(self):
        """200 in the process that was first to be asked, 503 in all others."""
        owner = Path(f"{os.environ['RECORD']}.{self.part(1)}")
        with contextlib.suppress(FileExistsError), owner.open("x") as file:
            file.write(str(os.getpid()))
        self.answer(200 if owner.read_text() == str(os.getpid()) else 503)

    def hold(self):
        """Until the file is there: of whatever process, unlike a gate."""
        end = time.monotonic() + 60
        while not raised(self.part(1)) and time.monotonic() < end:
            time.sleep(0.005)
        self.version()

    def version(self):
        self.answer(200, os.environ.get("VERSION", "").encode(), X_Pid=str(os.getpid()))

    def gate(self):
        gate(self.part(1)).wait(60)
        self.answer(200, b"through\n")

    def open(self):
        gate(self.part(1)).set()
        self.answer(200)

    def crowd(self):
        with LOCK:
            CROWD["now"] += 1
            CROWD["most"] = max(CROWD["most"], CROWD["now"])
        time.sleep(0.03)
        with LOCK:
            CROWD["now"] -= 1
        self.answer(200)

    def most(self):
        self.answer(200, b"%d" % CROWD["most"])

    def redirect(self):
        self.answer(302, b"", Location="/elsewhere?x=1")

    def own_id(self):
        self.answer(
            200, b"", X_Call_Id="the function's", X_Start_Time="1", Date="Mon, 01 Jan 2001 00:00:00 GMT"
        )

    def hop(self):
        self.answer(
            200, b"hop\n", Connection="X-Inner, keep-alive", X_Inner="1", Keep_Alive="timeout=9", X_End="2"
        )

    def big(self):
        self.send_response(200)
        self.send_header("Content-Length", self.part(1))
        self.end_headers()
        left = int(self.part(1))
        while left > 0:
            self.wfile.write(b"\xa5" * min(left, 65536))
            left -= 65536

    def chunked(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(int(self.part(1))):
            self.piece(b"0123456789" * 100)
        self.wfile.write(b"0\r\n\r\n")

    def piece(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def events(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.piece(b"data: one\n\n")
        gate(self.part(1)).wait(60)
        self.piece(b"data: two\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def upgrade(self):
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n")
        self.wfile.flush()
        while data := self.connection.recv(65536):
            self.connection.sendall(data.upper())
        self.close_connection = True

    # how a function may misbehave

    def raw(self, data):
        self.wfile.write(data)
        self.wfile.flush()
        self.close_connection = True

    def garbage(self):
        self.raw(b"\x00\xff\xfe this is not HTTP at all\r\n\r\n" * 3)

    def silent(self):
        self.close_connection = True

    def short(self):
        self.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")

    def half_chunk(self):
        self.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\nx")

    def endless_head(self):
        self.raw(b"HTTP/1.1 200 OK\r\n" + b"X-Filler: abcdefghijklmnopqrstuvwxyz\r\n" * 60000 + b"\r\n")

    def two_lengths(self):
        self.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc")

    def never(self):
        time.sleep(60)

    def early(self):
        self.answer(200, b"before your body\n")
        self.close_connection = True

    def die(self):
        os._exit(3)


class Listener(ThreadingHTTPServer):
    """Many may wait; threads end with the process."""

    daemon_threads = True
    request_queue_size = 1024


class UnixListener(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """The same on a unix socket."""

    daemon_threads = True
    request_queue_size = 1024

    def get_request(self):
        connection, _ = super().get_request()
        return connection, ("unix", 0)


def main():
    note_start()
    time.sleep(float(os.environ.get("STARTS_AFTER", "0")))
    if path := os.environ.get("UNIX_SOCKET"):
        Path(path).unlink(missing_ok=True)
        Handler.disable_nagle_algorithm = False
        UnixListener(path, Handler).serve_forever()
    Listener.address_family = socket.AF_INET
    Listener(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()


if __name__ == "__main__":
    main()
