"""TLS at the door: calls of both kinds, and a new certificate after a reload without a restart."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import trustme

from tests.house.daemon import Daemon, service
from tests.house.patience import until
from tests.house.wire import Answer, ask_on


def certify(folder: Path, authority: trustme.CA) -> None:
    """A new certificate and key for localhost."""
    folder.mkdir(exist_ok=True)
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))


def ask(daemon: Daemon, authority: trustme.CA, method: str, target: str, body: bytes = b"") -> Answer:
    """One request over TLS."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with closing(
        http.client.HTTPSConnection("localhost", daemon.port, timeout=20, context=context)
    ) as connection:
        return ask_on(connection, method, target, body)


def serial(daemon: Daemon) -> bytes:
    """The certificate that is shown."""
    return ssl.get_server_certificate(("127.0.0.1", daemon.port)).encode()


@pytest.fixture
def secure(make: Callable[..., Daemon], tmp_path: Path) -> tuple[Daemon, trustme.CA]:
    authority = trustme.CA()
    certify(tmp_path / "pem", authority)
    tls = {"certificate": str(tmp_path / "pem/cert.pem"), "key": str(tmp_path / "pem/key.pem")}
    daemon = make({"api": service(tmp_path / "0"), "cat": {"command": ["/bin/cat"]}}, gateway={"tls": tls})
    daemon.start()
    return daemon, authority


def test_calls_of_both_kinds(secure: tuple[Daemon, trustme.CA]) -> None:
    """Small, large, synchronous and asynchronous."""
    daemon, authority = secure
    body = bytes(range(256)) * 8000
    assert ask(daemon, authority, "POST", "/function/cat", b"over TLS").text == "over TLS"
    assert ask(daemon, authority, "POST", "/function/api/echo", body).body == body
    assert ask(daemon, authority, "POST", "/async-function/api/tell/tls", body).status == 202
    until(lambda: daemon.ran("/tell/tls"))


def test_a_new_certificate_is_shown_after_a_reload(secure: tuple[Daemon, trustme.CA], tmp_path: Path) -> None:
    """And a broken one is refused: the one before stays."""
    daemon, authority = secure
    first = serial(daemon)
    certify(tmp_path / "pem", authority)
    daemon.reload()
    second = until(lambda: new if (new := serial(daemon)) != first else b"", what="the new one is shown")
    (tmp_path / "pem/key.pem").write_text("no key")
    daemon.reload()
    until(lambda: "refused" in daemon.log, what="the broken one is refused")
    assert serial(daemon) == second
    assert ask(daemon, authority, "POST", "/function/cat", b"on").text == "on"


def test_plain_http_on_a_tls_port_is_no_harm(secure: tuple[Daemon, trustme.CA]) -> None:
    """The client gets an error or nothing; others are served."""
    daemon, authority = secure
    with pytest.raises((OSError, http.client.HTTPException)):
        daemon.ask("GET", "/function/api/tell")
    assert ask(daemon, authority, "POST", "/function/cat", b"on").text == "on"
    assert "Traceback" not in daemon.log


def test_a_certificate_that_cannot_be_used_stops_the_start(
    make: Callable[..., Daemon], tmp_path: Path
) -> None:
    """One sentence, exit status 2."""
    (tmp_path / "bad.pem").write_text("nothing")
    tls = {"certificate": str(tmp_path / "bad.pem"), "key": str(tmp_path / "bad.pem")}
    daemon = make({"cat": {"command": ["/bin/cat"]}}, gateway={"tls": tls})
    done = daemon.cli("up")
    assert done.returncode == 2
    assert "bad.pem" in done.stderr
    assert done.stderr.count("\n") == 1
