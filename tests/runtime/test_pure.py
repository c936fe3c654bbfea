"""The pure parts: environment, sniffing, and small state."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from faasd_py.runtime import environment, sniff
from faasd_py.runtime.nursery import open_nursery
from faasd_py.runtime.ports import Ports
from faasd_py.runtime.running import Running
from faasd_py.testing.runtime_conformance import request

from .places import free_port


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        (b"x-call-id", b"Http_X_Call_Id"),
        (b"X-CALL-ID", b"Http_X_Call_Id"),
        (b"x-3scale-Id", b"Http_X_3scale_Id"),
        (b"Accept", b"Http_Accept"),
        (b"x_y", b"Http_X_y"),
        (b"-", b"Http__"),
    ],
)
def test_variables_are_named_as_go_names_headers(name, variable):
    """Each word between dashes begins with a capital, the rest is small."""
    assert environment.variable(name) == variable


def test_the_request_wins_over_headers_of_the_same_name():
    """A header `Path`, `Host` or `Query` cannot pass for the request's own."""
    headers = b"Path: /evil\r\nHost: evil\r\nQuery: evil\r\nMethod: EVIL\r\nContent-Length: 9\r\n"
    invocation = request("x", b"body", target=b"/good", headers=headers)
    seen = environment.of_request(invocation)
    assert seen[b"Http_Path"] == b"/good"
    assert seen[b"Http_Host"] == b"gateway.test"
    assert seen[b"Http_Method"] == b"POST"
    assert seen[b"Http_Content_Length"] == b"4"
    assert b"Http_Query" not in seen


def test_values_are_trimmed_and_the_first_counts():
    """As net/http's Header.Get."""
    seen = environment.of_request(request("x", headers=b"A:  one \t\r\nA: two\r\nB:\r\nC: a:b\r\n"))
    assert (seen[b"Http_A"], seen[b"Http_B"], seen[b"Http_C"]) == (b"one", b"", b"a:b")


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", b"/", None),
        (b"/a%2Fb%20c", b"/a/b c", None),
        (b"/%ff%zz", b"/\xff%zz", None),
        (b"/a?b?c=%20", b"/a", b"b?c=%20"),
        (b"/a?", b"/a", None),
    ],
)
def test_paths_and_queries(target, path, query):
    """The path is decoded, the query is not, and is left out when empty."""
    seen = environment.of_request(request("x", target=target))
    assert (seen[b"Http_Path"], seen.get(b"Http_Query")) == (path, query)


def test_a_nul_cannot_be_said():
    """Unspeakable, with the answer's text."""
    with pytest.raises(environment.Unspeakable, match="NUL"):
        environment.of_request(request("x", target=b"/%00"))


def test_own_environment():
    """Basics of the daemon, the names, secrets if any; the function's own settings win over all."""
    daemon = {"PATH": "/p", "HOME": "/h", "AWS_SECRET": "no", "LANG": "", "TZ": "UTC"}
    own = environment.own("f", "ns", {"TZ": "CET", "X": "ä\udcff"}, "/s", daemon)
    assert own == {
        b"PATH": b"/p", b"HOME": b"/h", b"TZ": b"CET", b"X": "ä".encode() + b"\xff",
        b"OPENFAAS_NAME": b"f", b"OPENFAAS_NAMESPACE": b"ns", b"SECRETS_DIR": b"/s",
    }  # fmt: skip
    assert environment.own("f", "ns", {}, None, {})[b"PATH"] == environment.DEFAULT_PATH.encode()


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"", b"text/plain; charset=utf-8"),
        (b"hello", b"text/plain; charset=utf-8"),
        ("grüße".encode(), b"text/plain; charset=utf-8"),
        (b'{"a": 1}', b"text/plain; charset=utf-8"),
        (b"\r\n\t <!doctype HTML>", b"text/html; charset=utf-8"),
        (b"<html>", b"text/html; charset=utf-8"),
        (b"<htmlx", b"text/plain; charset=utf-8"),
        (b"<!-- c -->", b"text/html; charset=utf-8"),
        (b"<?xml version='1.0'?>", b"text/xml; charset=utf-8"),
        (b"%PDF-1.7", b"application/pdf"),
        (b"\x89PNG\r\n\x1a\n....", b"image/png"),
        (b"\xff\xd8\xff\xe0", b"image/jpeg"),
        (b"GIF89a", b"image/gif"),
        (b"RIFF1234WEBPVP8 ", b"image/webp"),
        (b"\x1f\x8b\x08\x00", b"application/x-gzip"),
        (b"PK\x03\x04", b"application/zip"),
        (b"a\x00b", b"application/octet-stream"),
        (b"x" * 512 + b"\x00", b"text/plain; charset=utf-8"),
    ],
)
def test_sniffing(start, kind):
    """What net/http's DetectContentType says, for the kinds that functions answer."""
    assert sniff.content_type(start) == kind


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        (b"", b""),
        (b"A: b\r\nCONTENT-TYPE:\t text/x \r\n", b"text/x"),
        (b"X-Content-Type: no\r\n", b""),
        (b"Content-Type:\r\nA: b\r\n", b""),
    ],
)
def test_declared(headers, kind):
    """The request's Content-Type, however it is written."""
    assert sniff.declared(headers) == kind


async def test_running():
    """`drained` waits for all that run, also for those that came while it waited."""
    running, drained = Running(), trio.Event()

    async def drain():
        await running.drained()
        drained.set()

    async with trio.open_nursery() as nursery:
        with running:
            nursery.start_soon(drain)
            await trio.testing.wait_all_tasks_blocked()
            running.__enter__()
        await trio.testing.wait_all_tasks_blocked()
        assert (running.count, drained.is_set()) == (1, False)
        running.__exit__()
    assert drained.is_set()


async def test_nursery_raises_one_failure_as_it_is():
    """Not a group of one; of a failure and what was cancelled by it, the failure."""

    async def fail():
        raise KeyError("x")

    with pytest.raises(KeyError):
        async with open_nursery() as nursery, open_nursery() as inner:
            inner.start_soon(trio.sleep_forever)
            nursery.start_soon(fail)
            await trio.sleep_forever()


async def test_nursery_keeps_cancellation():
    """Cancelled from outside, it is cancelled."""
    with trio.move_on_after(0) as scope:
        async with open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()
    assert scope.cancelled_caught


def test_ports_are_lent_once():
    """Two functions that start at the same time never get the same port, nor one that is in use."""
    ports = Ports()
    ports._choice = range(ports._choice[0], ports._choice[0] + 4)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports._choice[1]))
        taken.listen()
        lent = {ports.take() for _ in range(3)}
        assert lent == set(ports._choice) - {ports._choice[1]}
        with pytest.raises(OSError, match="no port is free"):
            ports.take()
        port = lent.pop()
        ports.give_back(port)
        assert ports.take() == port
        for port in lent:
            ports.give_back(port)


def test_ports_are_lent_once_by_all_daemons():
    """Until they are given back, or the daemon that had them is gone."""
    ours, theirs = Ports(), Ports()
    ours._choice = theirs._choice = range(ours._choice[-1], ours._choice[-1] + 1)
    port = ours.take()
    with pytest.raises(OSError, match="no port is free"):
        theirs.take()
    ours.give_back(port)
    assert theirs.take() == port
    theirs.give_back(port)


def test_a_port_that_its_holder_did_not_give_back():
    """The kernel does."""
    lend = "from faasd_py.runtime.ports import Ports; print(Ports().take())"
    port = int(subprocess.run([sys.executable, "-c", lend], stdout=-1, check=True).stdout)
    ports = Ports()
    ports._choice = range(port, port + 1)
    assert ports.take() == port
    ports.give_back(port)


def test_ports_are_not_the_kernels():
    """An outgoing connection cannot take one before the function does."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert free_port() < lowest
