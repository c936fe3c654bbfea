"""Who may come in, and what happens to what is no message."""

from __future__ import annotations

import logging
import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest
import trio
import trustme

from faasd_py.api import (
    Call,
    ConfigError,
    Filter,
    Move,
    Outcome,
    QueueSettings,
    QueueSite,
    QueueUnavailable,
    Spooled,
)
from faasd_py_nng import open_queue, wire
from faasd_py_nng.nng import ConnectionLost, open_connection
from faasd_py_nng.settings import read_hub_options, read_spoke_options

from .conftest import address_of, open_hub, spoke_site

CALL = Call(lane="a.openfaas-fn", body=b"hello")
KEY = b"a key of at least sixteen bytes"


@pytest.fixture
def site():
    directory = Path(tempfile.mkdtemp(prefix="nng-"))
    yield QueueSite(settings=QueueSettings(), directory=directory, spool=directory / "spool")
    shutil.rmtree(directory)


@pytest.fixture
def key_file(tmp_path):
    (tmp_path / "key").write_bytes(KEY + b"\n")
    return str(tmp_path / "key")


def port() -> int:
    return random.randrange(20000, 30000)


def spoke_at(site, address: str, name: str = "spoke", **options):
    options = {"hub": address, "lanes": ["*"], "connect_timeout": "500ms", "put_timeout": "300ms"} | options
    return open_queue(spoke_site(site.directory / name, site.spool, site.settings, **options))


async def refusal(site, address: str, **options) -> str:
    """Why a spoke is not let in."""
    async with spoke_at(site, address, "refused", **options) as queue:
        with pytest.raises(QueueUnavailable) as caught:
            await trio.sleep(0.35)
            await queue.put(CALL)
        assert queue.trouble() in str(caught.value)
        return str(caught.value)


# -- settings


@pytest.mark.parametrize(
    "address", ["tcp://0.0.0.0:7776", "tcp://10.0.0.1:7776", "tcp://hub.lan:7776", "tcp://[::]:7776"]
)
def test_tcp_to_other_machines_needs_a_key(address, key_file):
    """Without one the hub refuses to start, in one sentence that says what to do."""
    with pytest.raises(
        ConfigError, match=r"services.nng-hub.listen: tcp://.* other machines: set key_file, or use"
    ):
        read_hub_options({"listen": [address]})
    assert read_hub_options({"listen": [address], "key_file": key_file}).listen == [address]


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:7776", "tcp://[::1]:7776", "tcp://localhost:7776", "ipc:///a/b"]
)
def test_this_machine_needs_none(address):
    """Whoever is on this machine is let in."""
    assert read_hub_options({"listen": [address]}).listen == [address]


def test_tls_to_other_machines_needs_a_key_or_client_certificates():
    """A certificate of the hub's own tells the hub nothing about who comes."""
    tls = {"listen": ["tls+tcp://0.0.0.0:7776"], "tls_certificate": "c", "tls_key": "k"}
    with pytest.raises(ConfigError, match="set key_file or tls_client_ca"):
        read_hub_options(tls)
    read_hub_options(tls | {"tls_client_ca": "ca"})
    with pytest.raises(ConfigError, match="needs a certificate"):
        read_hub_options({"listen": ["tls+tcp://0.0.0.0:7776"], "key_file": "k"})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "queue.options.hub: this setting is required"),
        ({"hub": "http://a"}, "is no address"),
        ({"hub": "tcp://a"}, "needs a host and a port"),
        ({"hub": "ipc:///a", "mode": "both"}, "queue.options.mode"),
        ({"hub": "ipc:///a", "lane": ["x"]}, "queue.options.lane: there is no such setting"),
        ({"hub": "tls+tcp://a:1"}, "queue.options.tls_ca"),
        ({"hub": "ipc:///a", "put_timeout": "soon"}, "queue.options.put_timeout"),
        ({"hub": "ipc:///a", "tls_key": "k"}, "come together"),
    ],
)
def test_wrong_settings_are_named(options, words):
    """One sentence with the key."""
    with pytest.raises(ConfigError) as caught:
        read_spoke_options(options)
    assert words in str(caught.value)


# -- keys


async def test_with_the_key_one_comes_in(site, key_file):
    """Over tcp too."""
    address = f"tcp://127.0.0.1:{port()}"
    async with (
        open_hub(site, listen=[address], key_file=key_file),
        spoke_at(site, address, key_file=key_file) as queue,
    ):
        await queue.put(CALL)
        assert queue.trouble() is None


async def test_a_wrong_key_is_refused_on_both_sides(site, key_file, tmp_path, caplog):
    """The hub logs it; the spoke says why; nothing was put."""
    (tmp_path / "wrong").write_bytes(b"another key, as long")
    async with open_hub(site, key_file=key_file) as behind:
        assert "key" in await refusal(site, address_of(site.directory), key_file=str(tmp_path / "wrong"))
        assert "this spoke has none" in await refusal(site, address_of(site.directory))
        assert not behind.stats().lanes
    assert "it does not know the key" in caplog.text
    async with open_hub(site):
        assert "the hub has none" in await refusal(site, address_of(site.directory), key_file=key_file)


async def test_a_key_that_is_a_word_is_no_key(site, tmp_path):
    """Too short, or not there: a sentence with the file."""
    (tmp_path / "short").write_bytes(b"secret")
    for path, words in ((tmp_path / "short", "at least 16"), (tmp_path / "none", "cannot read")):
        with pytest.raises(ConfigError, match=words):
            async with spoke_at(site, "ipc:///nobody", key_file=str(path)):
                pass


# -- certificates


@pytest.fixture
def papers(tmp_path):
    """An authority, and what it signed, as files; and another authority that nobody trusts."""
    made = {}
    for name in ("ours", "others"):
        authority = trustme.CA()
        authority.cert_pem.write_to_path(tmp_path / f"{name}.ca")
        for who in ("localhost", "spoke.lan"):
            cert = authority.issue_cert(who)
            cert.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.{who}.pem")
            cert.private_key_pem.write_to_path(tmp_path / f"{name}.{who}.key")
    made["hub"] = {
        "tls_certificate": str(tmp_path / "ours.localhost.pem"), "tls_key": str(tmp_path / "ours.localhost.key"),
        "tls_client_ca": str(tmp_path / "ours.ca"),
    }  # fmt: skip
    for name in ("ours", "others"):
        made[name] = {
            "tls_certificate": str(tmp_path / f"{name}.spoke.lan.pem"), "tls_key": str(tmp_path / f"{name}.spoke.lan.key"),
        }  # fmt: skip
    made["ca"] = {"tls_ca": str(tmp_path / "ours.ca")}
    made["wrong ca"] = {"tls_ca": str(tmp_path / "others.ca")}
    return made


async def test_certificates_let_in(site, papers):
    """Of both sides, each verified by the other."""
    address = f"tls+tcp://localhost:{port()}"
    options = {"connect_timeout": "5s", "put_timeout": "5s"} | papers["ca"] | papers["ours"]
    async with open_hub(site, listen=[address], **papers["hub"]), spoke_at(site, address, **options) as queue:
        await queue.put(CALL)
        assert len(await queue.records(Filter())) == 1


async def test_whom_nobody_vouches_for_stays_outside(site, papers):
    """A spoke without a certificate, with another authority's, and one that does not trust the hub."""
    address = f"tls+tcp://localhost:{port()}"
    async with open_hub(site, listen=[address], **papers["hub"]) as behind:
        for options in (papers["ca"], papers["ca"] | papers["others"], papers["wrong ca"] | papers["ours"]):
            await refusal(site, address, **options)
        assert not behind.stats().lanes


async def test_files_that_are_no_certificates_are_named(site, tmp_path, papers):
    """At the start, not when the first spoke comes."""
    (tmp_path / "junk").write_text("junk")
    with pytest.raises(ConfigError, match="certificates cannot be used"):
        async with spoke_at(site, "tls+tcp://localhost:1", tls_ca=str(tmp_path / "junk")):
            pass


# -- what is no message


def hello(**more) -> wire.Hello:
    fields = {
        "version": 1, "spoke": os.urandom(16), "incarnation": os.urandom(16), "name": "odd", "nonce": os.urandom(16),
        "lanes": ["*"],
    }  # fmt: skip
    return wire.Hello(**(fields | more))


async def admitted(line) -> bytes:
    """A session, as a spoke gets it."""
    await line.ask(wire.encode(hello()))
    welcome = wire.decode_reply(await line.ask(wire.encode(wire.Proof(b""))))
    assert isinstance(welcome, wire.Welcome)
    return welcome.session


def odd_frames(session: bytes) -> list[bytes]:
    put = lambda **fields: wire.Put(1, Call(**({"lane": "a"} | fields)))  # noqa: E731
    ops = [
        put(body=Spooled(path="/etc/passwd", size=1)), put(lane=""), put(method=b"GET /"), put(target=b"no slash"),
        put(target=b"/a HTTP/1.1\r\nX: y"), put(headers=b"X: y\r\n\r\nGET / HTTP/1.1\r\n"), put(headers=b"no end"),
        put(headers=b"Content-Length: 5\r\n"), put(headers=b"transfer-encoding: chunked\r\n"), put(host=b"a\r\nb"), put(accepted_at=float("nan")), put(not_before=float("inf")), put(priority=10**6),
        wire.Settle(1, 1, Move.RETRY, wait=float("nan")), wire.Settle(1, 1, Move.DONE, outcome=Outcome(status=200, duration=-1.0)),
        wire.Settle(1, 1, 1, outcome=Outcome(status=200, body=Spooled(path="/etc/passwd", size=1))),
        wire.Ask(1, "put"), wire.Ask(1, "find", state=77), wire.Ask(1, "__class__"),
    ]  # fmt: skip
    frames = [wire.encode(wire.Frame(session, 1, 0, [op])) for op in ops]
    return [
        *frames, b"", b"\xc1", b"\xff" * 100, b"[]", wire.encode([3, session]), wire.encode([99]),
        wire.encode(wire.Frame(session, 1, 0, [put()] * (wire.MAX_OPS + 1))),
        wire.encode(wire.Chunk(session, 1, 0, b"a", False)) + b"more",
        wire.encode(wire.Chunk(session, 1, 0, b"a" * 10, last=False)).replace(b"a" * 10, b""),
        wire.encode(hello()), wire.encode(wire.Proof(b"")),
        b"\x91" * 5000,
    ]  # fmt: skip


async def test_what_is_no_message_ends_its_session_only(site, caplog):
    """Each kind of nonsense: that connection is closed with a line in the log, and everybody else goes on."""
    address = address_of(site.directory)
    async with open_hub(site) as behind, spoke_at(site, address, lanes=["*"]) as good:
        for number in range(len(odd_frames(b"x" * 16))):
            caplog.clear()
            async with open_connection(address, None, 5.0) as line:
                session = await admitted(line)
                with trio.fail_after(10):
                    with pytest.raises(ConnectionLost):
                        await line.ask(odd_frames(session)[number])
            assert any(record.levelno == logging.WARNING for record in caplog.records), number
            assert "Traceback" not in caplog.text, (number, caplog.text)
        assert not behind.stats().lanes
        await good.put(CALL)
        assert (await good.find("nothing")) is None


async def test_a_message_over_the_limit_is_cut_off(site):
    """The connection is closed by nng before it is read."""
    address = address_of(site.directory)
    async with open_hub(site), spoke_at(site, address) as good:
        async with open_connection(address, None, 5.0) as line:
            await admitted(line)
            with trio.fail_after(10):
                with pytest.raises(ConnectionLost):
                    await line.ask(b"x" * (1 << 20))
                    await line.ask(b"x")
        await good.put(CALL)


async def test_another_version_is_told(site):
    """In words."""
    async with open_hub(site), open_connection(address_of(site.directory), None, 5.0) as line:
        told = wire.decode_reply(await line.ask(wire.encode(hello(version=7))))
        assert isinstance(told, wire.Refused)
        assert "version 1" in told.text


async def test_a_stolen_session_is_worth_nothing(site):
    """A session belongs to the connection that proved who it is."""
    address = address_of(site.directory)
    async with (
        open_hub(site) as behind,
        open_connection(address, None, 5.0) as line,
        open_connection(address, None, 5.0) as other,
    ):
        session = await admitted(line)
        told = wire.decode_reply(await other.ask(wire.encode(wire.Frame(session, 1, 0, [wire.Put(1, CALL)]))))
        assert isinstance(told, wire.Refused)
        assert not behind.stats().lanes


async def test_no_more_spokes_than_allowed(site):
    """The one too many is told so."""
    address = address_of(site.directory)
    async with open_hub(site, max_spokes=1), spoke_at(site, address):
        assert "max_spokes" in await refusal(site, address)


async def test_who_does_not_say_who_they_are_is_turned_away(site, monkeypatch):
    """A connection without a session does not stay."""
    monkeypatch.setattr("faasd_py_nng.hub.HANDSHAKE", 0.1)
    async with open_hub(site), open_connection(address_of(site.directory), None, 5.0) as line:
        with trio.fail_after(5):
            await line.lost.wait()


async def test_spokes_get_only_what_the_hub_allows(site):
    """Whatever lanes they ask for, and never deliveries by a general pattern."""
    address = address_of(site.directory)
    async with open_hub(site, lanes=["a.*"]) as behind, spoke_at(site, address) as queue:
        for lane in ("b.openfaas-fn", "callback:box:80", "a.openfaas-fn"):
            await queue.put(Call(lane=lane))
        with trio.fail_after(5):
            assert await queue.next_lane() == "a.openfaas-fn"
        for lane in ("b.openfaas-fn", "callback:box:80"):
            with trio.move_on_after(0.3):
                await queue.wait_ready(lane)
            assert queue.lease_nowait(lane) is None
            assert behind.stats().lanes[lane].ready == 1
