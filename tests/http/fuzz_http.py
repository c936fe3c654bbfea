"""A fuzz entry point: whatever bytes come, the server ends, answers by the letter, and reads no request that is not there.

`python -m tests.http.fuzz_http [SECONDS] [SEED]` mutates the smuggling corpus at random; `one_input(data)` is what
atheris or any other driver calls (`atheris.Setup(sys.argv, one_input)`). A finding is an AssertionError or any other
exception; the input that made it is printed as a Python literal.
"""

from __future__ import annotations

import random
import sys
import time

import trio

from .corpus import cases
from .readers import strict
from .support import Recorder, limits, serve

BOUNDS = limits(
    head_timeout=1.0, idle_timeout=1.0, read_timeout=1.0, write_timeout=1.0, max_head=4096, max_headers=20
)
PIECES = [
    b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b";", b",", b"0\r\n\r\n", b"\r\n\r\n", b"Content-Length: 5\r\n", b"chunked", b"HTTP/1.1",
    b"Transfer-Encoding: chunked\r\n", b"Host: a\r\n", b"Connection: close\r\n", b"Upgrade: x\r\n", b"Expect: 100-continue\r\n", b"\xff", b"\x7f",
    b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n", b"ffffffffffffffff", b"-1", b"HEAD", b"Connection: Content-Length\r\n", b"5\r\nhello\r\n",
]  # fmt: skip


def one_input(data: bytes) -> None:
    """Play `data`: its first byte says how it is cut into sends, the rest is what is sent."""
    if not data:
        return
    step, raw = data[0] or 4096, data[1:]
    requests, answers = trio.run(play, [raw[at : at + step] for at in range(0, len(raw), step)])
    check_answers(answers, len(requests))
    check_requests(raw, requests)


async def play(pieces: list[bytes]) -> tuple[list[tuple[bytes, bytes, bytes]], bytes]:
    """The requests that reached a handler, and all that came back."""
    recorder = Recorder()
    async with serve(recorder, BOUNDS) as served:
        wire = await served.open()
        try:
            for piece in pieces:
                await wire.send(piece)
                await trio.lowlevel.checkpoint()
            await wire.eof()
        except trio.BrokenResourceError:
            pass
        answers = await wire.rest()
    return [(seen.method, seen.target, seen.body) for seen in recorder.requests], answers


def check_answers(answers: bytes, served: int) -> None:
    """Every request got its 200 in order; at most one refusal, at the end."""
    good = 0
    while answers:
        head, mark, answers = answers.partition(b"\r\n\r\n")
        assert mark, "half a head came back"
        assert head.startswith(b"HTTP/1.1 "), head
        status = int(head[9:12])
        if status == 100:
            continue
        sizes = [
            int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        ]
        size = (
            sizes[0] if (sizes and answers[: sizes[0]].isdigit()) or status != 200 else 0
        )  # HEAD has no body
        good += status == 200
        assert status == 200 or not answers[size:], "something behind a refusal"
        answers = answers[size:]
    assert good == served


def check_requests(raw: bytes, requests: list[tuple[bytes, bytes, bytes]]) -> None:
    """What we read, h11 reads too, unless it refused to read on."""
    found = strict(raw)
    for ours, theirs in zip(requests, found.requests, strict=False):
        assert ours == theirs, (ours, theirs)
    assert len(requests) <= len(found.requests) or found.rest.startswith(b"refused"), (requests, found)


def mutated(rng: random.Random, seeds: list[bytes]) -> bytes:
    """One or more seeds with some bytes changed, doubled, cut, or put in."""
    raw = bytearray(b"".join(rng.choice(seeds) for _ in range(rng.choice((1, 1, 2)))))
    for _ in range(rng.randint(0, 4)):
        at, end = sorted(rng.randrange(len(raw) + 1) for _ in range(2))
        kind = rng.randrange(5)
        if kind == 0:
            raw[at:at] = rng.choice(PIECES)
        elif kind == 1:
            del raw[at : min(end, at + 12)]
        elif kind == 2 and at < len(raw):
            raw[at] = rng.randrange(256)
        elif kind == 3:
            raw[at:at] = raw[at : min(end, at + 40)]
        elif at < len(raw):
            raw[at] ^= 0x20
    return bytes([rng.choice((0, 0, 1, 7, 40))]) + bytes(raw)


def campaign(seed: int, *, inputs: int = sys.maxsize, seconds: float = float("inf")) -> int:
    """Run mutated inputs until one of the bounds; the number of inputs."""
    rng, seeds, done = random.Random(seed), [case.raw for case in cases()], 0
    until = time.monotonic() + seconds
    while done < inputs and time.monotonic() < until:
        data = mutated(rng, seeds)
        try:
            one_input(data)
        except BaseException:
            print(f"finding, seed {seed}, input {done}: {data!r}", file=sys.stderr)
            raise
        done += 1
    return done


def main() -> None:
    """Seconds and seed from the command line."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns()
    print(f"seed {seed}: {campaign(seed, seconds=seconds)} inputs, no finding")


if __name__ == "__main__":
    main()
