"""`invoke` at a gateway with TLS."""

import ssl
import threading
from http.server import ThreadingHTTPServer

import pytest
import trustme

from tests.cli.conftest import Gateway


@pytest.fixture
def secure(tmp_path):
    """A gateway whose certificate nobody here trusts."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *words: None
        server.asked, server.answers, server.hasty = [], (200, [("Content-Length", "4")], [b"done"]), False
        server.url = f"https://localhost:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_an_unknown_certificate_is_refused(cli, secure):
    """One sentence, status 1, nothing is sent."""
    said = cli("invoke", "a", "-d", "", "--gateway", secure.url)
    assert said.status == 1
    assert said.err.startswith(f"faasd-py: cannot connect to {secure.url}: ")
    assert "certificate verify failed" in said.err
    assert secure.asked == []


def test_unless_it_is_not_looked_at(cli, secure):
    """--tls-no-verify."""
    assert cli("invoke", "a", "-d", "", "--gateway", secure.url, "--tls-no-verify").out == "done"


def test_or_it_is_trusted(cli, secure, tmp_path, monkeypatch):
    """$SSL_CERT_FILE is OpenSSL's own way to say so."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert cli("invoke", "a", "-d", "", "--gateway", secure.url).out == "done"
