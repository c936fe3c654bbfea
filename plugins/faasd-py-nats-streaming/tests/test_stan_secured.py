"""A NATS server that asks for TLS, a certificate, a user, or a token: who is right gets in and comes back; who is wrong is told."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
import trio
import trustme

from faasd_py.api import ConfigError, Move, QueueUnavailable, Verdict
from tests.house.daemon import Daemon, service
from tests.house.patience import until as wait_until

from . import test_stan_conformance as contract
from .stan_ground import ANSWER, CALL, Broker, opened, take, until

PAST = {
    "not_before": dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    "not_after": dt.datetime(2021, 1, 1, tzinfo=dt.UTC),
}
SECRET = "s3cr3t-of-ours"
USERS = f'authorization {{ users: [{{ user: "ours", password: "{SECRET}" }}, {{ user: "stan", password: "stan" }}] }}'


class Papers:
    """An authority, and what it issued, as PEM files."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.authority = trustme.CA()
        self.ca = str(directory / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca)
        self.server = self.issue("server", "127.0.0.1")
        self.client = self.issue("client", "daemon@example.org")

    def issue(self, name: str, identity: str, **validity: dt.datetime) -> str:
        """Certificate and key in one file; an older one of this name is replaced."""
        path = str(self.directory / f"{name}.pem")
        issued = self.authority.issue_cert(identity, **validity)
        issued.private_key_and_cert_chain_pem.write_to_path(path)
        return path

    def secret(self, text: str) -> str:
        path = self.directory / f"secret-{text}"
        path.write_text(f"{text}\n")
        return str(path)

    @property
    def tls(self) -> str:
        """The nats-server's lines."""
        return f'tls {{ cert_file: "{self.server}", key_file: "{self.server}", ca_file: "{self.ca}", verify: true }}'

    @property
    def words(self) -> tuple[str, ...]:
        """The STAN server's."""
        return ("--ca", self.ca, "--certificate", self.client)

    @property
    def options(self) -> dict[str, str]:
        """The daemon's."""
        return {"tls_ca": self.ca, "tls_certificate": self.client, "tls_key": self.client}


@pytest.fixture
def papers(tmp_path):
    return Papers(tmp_path / "papers")


@pytest.fixture
def secured(make_broker, papers):
    """TLS both ways, and users."""
    return make_broker(
        "--dup-timeout", "0.2", *papers.words, extra=f"{papers.tls}\n{USERS}", user="stan:stan"
    )


@pytest.fixture
def right(secured, papers):
    """The options of one who may come in."""
    return secured.options(user="ours", password_file=papers.secret(SECRET), **papers.options)


async def run_one(queue):
    """A call, through its life."""
    accepted = await queue.put(CALL)
    lease = await take(queue)
    assert lease.id == accepted.id
    await queue.start(lease)
    await queue.settle(lease, Verdict(move=Move.DONE), ANSWER)
    await queue.flush()


@pytest.fixture(scope="module")
def shared_broker(tmp_path_factory):
    """One such for the contract."""
    papers = Papers(tmp_path_factory.mktemp("papers"))
    words = ("--max-channels", "0", "--dup-timeout", "0.2", *papers.words)
    extra = f"{papers.tls}\n{USERS}"
    broker = Broker(tmp_path_factory.mktemp("broker"), *words, extra=extra, user="stan:stan")
    try:
        broker.start()
        yield broker, papers
    finally:
        broker.stop()


class TestSecured(contract.TestNative):
    """The whole contract over TLS, with a certificate and a password."""

    @pytest.fixture(autouse=True)
    def place(self, tmp_path, shared_broker):
        broker, papers = shared_broker
        self.directory = tmp_path
        self.options = broker.options(user="ours", password_file=papers.secret(SECRET), **papers.options)
        self.open_now = []


async def test_a_token(tmp_path, make_broker, papers):
    """Out of a file; it comes back with it after the server was lost."""
    broker = make_broker(extra=f"authorization {{ token: {SECRET} }}", user=SECRET)
    options = broker.options(token_file=papers.secret(SECRET))
    async with opened(tmp_path / "one", options) as queue:
        await run_one(queue)
        broker.nats.kill()
        await until(lambda: queue.trouble() is not None)
        broker.nats.start()
        await comes_back(queue)
    with pytest.raises(ConfigError) as caught:
        async with opened(tmp_path / "two", options | {"token_file": papers.secret("wr0ng")}):
            pass
    assert "the NATS server refuses us" in str(caught.value)
    assert "wr0ng" not in str(caught.value)


async def comes_back(queue):
    """The server is there again: what is put runs."""
    with trio.fail_after(20):
        while True:
            try:
                return await run_one(queue)
            except QueueUnavailable:
                await trio.sleep(0.05)


async def test_it_comes_back_with_what_it_came_with(tmp_path, secured, right):
    """TLS, certificate and password: the server is killed and comes back, and so do we."""
    async with opened(tmp_path, right) as queue:
        await run_one(queue)
        secured.nats.kill()
        await until(lambda: queue.trouble() is not None)
        secured.nats.start()
        await comes_back(queue)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("password", "the NATS server refuses us: .*Authorization Violation"),
        ("nobody", "the NATS server refuses us: .*Authorization Violation"),
        ("ca", "no TLS with the NATS server .*: its certificate is not trusted"),
        ("no ca", "no TLS with the NATS server .*: its certificate is not trusted"),
        ("no certificate", "no TLS with the NATS server .*: it does not trust our certificate: certificate required"),
        ("certificate", "no TLS with the NATS server .*: it does not trust our certificate: unknown ca"),
        ("expired", "no TLS with the NATS server .*: it does not trust our certificate: certificate expired"),
    ],
)  # fmt: skip
async def test_who_is_wrong_is_told_at_once(tmp_path, secured, right, papers, wrong, said):
    """One sentence, not a queue that waits for ever; no secret in it."""
    stranger = Papers(tmp_path / "stranger")
    changed: dict[str, dict[str, str | None]] = {
        "password": {"password_file": papers.secret("wr0ng")},
        "nobody": {"user": None, "password_file": None},
        "ca": {"tls_ca": stranger.ca},
        "no ca": {"tls_ca": None, "tls_certificate": None, "tls_key": None},
        "no certificate": {"tls_certificate": None, "tls_key": None},
        "certificate": {"tls_certificate": stranger.client, "tls_key": stranger.client},
        "expired": dict.fromkeys(("tls_certificate", "tls_key"), papers.issue("old", "daemon@example.org", **PAST)),
    }  # fmt: skip
    options = {key: value for key, value in (right | changed[wrong]).items() if value is not None}
    with trio.fail_after(10), pytest.raises(ConfigError, match=rf"^queue\.options: {said}") as caught:
        async with opened(tmp_path / "one", options):
            pass
    assert "wr0ng" not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_server_whose_certificate_has_expired(tmp_path, secured, right, papers):
    """It is not taken for one that is away; one that expires while we are connected is waited out."""
    papers.issue("server", "127.0.0.1", **PAST)
    secured.nats.restart()
    with trio.fail_after(10), pytest.raises(ConfigError, match="not trusted: certificate has expired"):
        async with opened(tmp_path / "one", right):
            pass
    papers.issue("server", "127.0.0.1")
    secured.nats.restart()
    async with opened(tmp_path / "two", right) as queue:
        await run_one(queue)
        papers.issue("server", "127.0.0.1", **PAST)
        secured.nats.restart()
        await until(lambda: queue.trouble() is not None)
        papers.issue("server", "127.0.0.1")
        secured.nats.restart()
        await comes_back(queue)


async def test_a_server_without_tls(tmp_path, broker, papers):
    """The password is not sent in plain text."""
    options = broker.options(user="ours", password_file=papers.secret(SECRET), **papers.options)
    with trio.fail_after(10), pytest.raises(ConfigError, match="the server offers none"):
        async with opened(tmp_path, options):
            pass


@pytest.fixture
def make_daemon(tmp_path):
    made = []

    def make(options):
        root = tmp_path / "daemon"
        root.mkdir()
        functions = {"quick": service(root, retry={"attempts": 60, "min_wait": "10ms", "max_wait": "100ms"})}
        made.append(Daemon(root, functions, queue={"backend": "nats-streaming", "options": options}))
        return made[-1]

    yield make
    for daemon in made:
        daemon.close()


@pytest.mark.parametrize("wrong", ["password", "ca"])
def test_the_daemon_does_not_start(make_daemon, tmp_path, right, papers, wrong):
    """Exit status 2, one sentence, no traceback, no secret."""
    change = {"password_file": papers.secret("wr0ng")} if wrong == "password" else {}
    daemon = make_daemon(right | change | ({"tls_ca": Papers(tmp_path / "x").ca} if wrong == "ca" else {}))
    daemon.start(wait=False)
    assert daemon.wait(20) == 2
    said = [line for line in daemon.log.splitlines() if "queue.options" in line]
    assert len(said) == 1, daemon.log
    assert ("refuses us" if wrong == "password" else "is not trusted") in said[0]
    assert "Traceback" not in daemon.log
    assert "wr0ng" not in daemon.log


def test_the_daemon_behind_tls_through_the_loss_of_its_server(make_daemon, secured, right):
    """Calls run, the server dies and comes back, calls run; no secret is in the log."""
    daemon = make_daemon(right)
    daemon.start()
    daemon.put("quick/tell", b"before")
    wait_until(lambda: "before" in [line["body"] for line in daemon.ran()])
    secured.nats.restart()
    wait_until(lambda: daemon.ask("POST", "/async-function/quick/tell", b"after").status == 202)
    wait_until(lambda: "after" in [line["body"] for line in daemon.ran()])
    assert daemon.stop() == 0
    assert SECRET not in daemon.log
    assert "Traceback" not in daemon.log


def test_a_password_that_is_changed_at_the_server_ends_the_daemon(make_daemon, secured, right):
    """When the server comes back with it: one sentence, so that whoever reads the log knows; a start again says the same."""
    daemon = make_daemon(right)
    daemon.start()
    daemon.put("quick/tell", b"before")
    secured.nats.kill()
    secured.config.write_text(secured.config.read_text().replace(SECRET, "another"))
    secured.nats.start()
    assert daemon.wait(20) != 0
    assert "the NATS server refuses us" in daemon.log
    assert "Traceback" not in daemon.log
    daemon.start(wait=False)
    assert daemon.wait(20) == 2
