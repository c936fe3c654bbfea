"""Large bodies: 1 MB and 64 MB, up, down and both ways at once; and what of them stays in memory."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

from tests.bench import target, variants
from tests.bench.place import Missing, Place
from tests.bench.processes import Server
from tests.bench.rounds import Rounds, Sample, Slice, take_turns
from tests.bench.target import Row

MB = 1 << 20
SIZES = (1, 64)
WAYS = ("up", "down", "echo")
GO, OURS = "Go ReverseProxy", "faasd-py"
PIECE = bytes(256 << 10)
TOGETHER = 4
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


def name(who: str, way: str, size: int) -> str:
    return f"{who}, {size} MB {way}"


class Wire:
    """A connection that moves bodies and keeps none; a new one when the other side says that this was the last answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._last = False
        self._connect()

    def _connect(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self._port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self.socket.close()

    def exchange(self, target_: str, size: int) -> int:
        """Send `size` bytes while receiving the answer; the size of its body."""
        if self._last:
            self.close()
            self._connect()
        method = "POST" if size else "GET"
        head = f"{method} {target_} HTTP/1.1\r\nHost: bench\r\nContent-Length: {size}\r\n\r\n"
        self.socket.sendall(head.encode())
        sender = threading.Thread(target=self._send, args=(size,))
        sender.start()
        try:
            return self._receive()
        finally:
            sender.join()

    def _send(self, size: int) -> None:
        for _ in range(size // len(PIECE)):
            self.socket.sendall(PIECE)

    def _receive(self) -> int:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._some()
        head, _, body = data.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the proxy answered {head[:200]!r}")
        self._last = _CLOSE.search(head) is not None
        if length := _LENGTH.search(head):
            return self._rest(int(length[1]), len(body))
        return self._until_last_chunk(body)

    def _rest(self, length: int, have: int) -> int:
        buffer = bytearray(256 << 10)
        while have < length:
            count = self.socket.recv_into(buffer)
            if not count:
                raise RuntimeError(f"the answer broke off after {have} of {length} bytes")
            have += count
        return have

    def _until_last_chunk(self, tail: bytes) -> int:
        size = len(tail)
        while not tail.endswith(b"\r\n0\r\n\r\n"):
            more = self._some()
            size += len(more)
            tail = (tail + more)[-16:]
        return size

    def _some(self) -> bytes:
        data = self.socket.recv(256 << 10)
        if not data:
            raise RuntimeError("the answer broke off")
        return data


def request(prefix: str, way: str, size: int) -> tuple[str, int]:
    """Target and bytes to send, to move a body of `size` that way."""
    targets = {"up": "/sink", "down": f"/source?bytes={size}", "echo": "/echo"}
    return prefix + targets[way], 0 if way == "down" else size


def measure(place: Place, count: int) -> Rounds:
    """Raises Missing without Go: the yardstick and the function behind it are written in it."""
    with _everybody(place) as (slices, daemon):
        for slice_ in slices.values():
            slice_()
        rounds = take_turns(slices, count, "large bodies")
        for _ in range(count):
            rounds.add("memory", _memory(daemon))
        return rounds


@contextmanager
def _everybody(place: Place) -> Iterator[tuple[Mapping[str, Slice], Server]]:
    with ExitStack() as stack:
        peer = stack.enter_context(variants.go_server(place, "peer", measured=False))
        go = stack.enter_context(variants.go_server(place, "revproxy", peer.url, "duplex"))
        functions = {"peer": {"url": peer.url}}
        ours = stack.enter_context(variants.Daemon(place, "stream", functions).up())
        slices: dict[str, Slice] = {}
        for way in WAYS:
            for size in SIZES:
                slices[name(GO, way, size)] = partial(_move, go, "", way, size)
                slices[name(OURS, way, size)] = partial(_move, ours, "/function/peer", way, size)
        yield slices, ours


def _move(server: Server, prefix: str, way: str, size: int) -> Sample:
    """384 MB, or 128 of 1 MB, one after the other."""
    times = 6 if size > 1 else 128
    target_, sent = request(prefix, way, size * MB)
    wire, before = Wire(server.port), server.cpu()
    began = time.perf_counter()
    try:
        for _ in range(times):
            got = wire.exchange(target_, sent)
            if way != "up" and got < size * MB:
                raise RuntimeError(f"{server.name}: {got} bytes came of {size} MB")
    finally:
        wire.close()
    moved = times * size * MB / 1e9
    return {"rate": moved / (time.perf_counter() - began), "cpu": (server.cpu() - before) / moved}


def _memory(server: Server) -> Sample:
    """The most that four echoes of 64 MB at once add to the process, for each connection."""
    server.forget_peak()
    before = server.memory("VmHWM")
    target_, sent = request("/function/peer", "echo", 64 * MB)
    wires = [Wire(server.port) for _ in range(TOGETHER)]
    _together([partial(wire.exchange, target_, sent) for wire in wires])
    for wire in wires:
        wire.close()
    return {"bytes": (server.memory("VmHWM") - before) / TOGETHER}


def _together(works: list[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def rows(rounds: Rounds | Missing) -> list[Row]:
    if isinstance(rounds, Missing):
        return [target.unmeasured("streaming", "≥ 0.9 x", str(rounds))]
    found = [
        target.at_least(
            f"streaming {size} MB {way}, to Go ReverseProxy",
            0.9,
            rounds.ratio(name(OURS, way, size), name(GO, way, size)),
        )
        for size in SIZES
        for way in WAYS
    ]
    grown = [value / MB for value in rounds.series("memory", "bytes").values]
    memory = target.at_most(
        f"memory of a 64 MB echo, {TOGETHER} at once, each",
        4,
        type(rounds.series("memory", "bytes"))(grown),
        "MB",
    )
    return [*found, memory]
