"""The http room alone as a one-hop proxy: `proxy_probe.py LISTEN_PORT UPSTREAM_PORT`.

Measures what the wire costs without functions, queue or metrics. Drive it with
`wrk -t1 -c32 -d5 -s tests/bench/post128.lua http://127.0.0.1:LISTEN_PORT/`, pinned to one core with taskset.
"""

from __future__ import annotations

import socket
import sys

import trio

from faasd_py.http.client import Pool, dial_tcp
from faasd_py.http.limits import Limits
from faasd_py.http.server import Exchange, Server


async def main(listen: int, upstream: int) -> None:
    """Proxy everything to the upstream."""
    pool = Pool(dial_tcp("127.0.0.1", upstream, 5.0))
    host = b"Host: 127.0.0.1:%d\r\n" % upstream

    async def handler(exchange: Exchange) -> None:
        source = exchange if exchange.body is None else None
        exchange.extra = b"X-Call-Id: 0123456789abcdef\r\n"
        exchange.expect(60.0, 504, b"", b"late\n")
        await pool.request(
            exchange.method, exchange.target, host + exchange.headers, exchange.body, exchange.length,
            source, exchange, exchange.upgrade,
        )  # fmt: skip

    server = Server(handler, Limits(), fields=[b"x-call-id", b"x-callback-url", b"accept"])
    await server.run([socket.create_server(("127.0.0.1", listen))])


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), int(sys.argv[2]))
