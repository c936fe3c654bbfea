"""[queue.options]: every mistake is one sentence that names the key."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trio
import trustme

from faasd_py.api import ConfigError, QueueBroken, QueueUnavailable
from faasd_py_jetstream.settings import Options, read_options, tls_context
from faasd_py_natsclient.testing import open_server


def test_the_defaults():
    """One server on this machine, one copy, in files."""
    options = read_options({})
    assert options == Options()
    assert (options.servers, options.replicas, options.storage) == (["nats://127.0.0.1:4222"], 1, "file")


def test_durations_are_written_as_everywhere():
    """Text with a unit, or whole seconds."""
    options = read_options({"ack_wait": "1m30s", "poll_interval": 3})
    assert (options.ack_wait, options.poll_interval) == (90, 3)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sevrers": ["x"]}, "queue.options.sevrers: there is no such setting"),
        ({"servers": "nats://x"}, "queue.options.servers: expected an array, got"),
        ({"servers": []}, "queue.options.servers: expected at least one address"),
        ({"replicas": 0}, "queue.options.replicas: expected an integer >= 1"),
        ({"replicas": 6}, "queue.options.replicas: expected an integer <= 5"),
        ({"storage": "paper"}, 'queue.options.storage: expected "file" or "memory", got'),
        ({"ack_wait": "soon"}, "queue.options.ack_wait: expected a duration"),
        ({"ack_wait": "1ms"}, "queue.options.ack_wait: expected at least 200ms"),
        ({"duplicate_window": 0}, "queue.options.duplicate_window: expected at least 1s"),
        ({"prefix": "a.b"}, "queue.options.prefix: expected 1 to 64 letters"),
        ({"namespace": ""}, "queue.options.namespace: expected 1 to 64 letters"),
        ({"user": "me"}, "queue.options.password_file: a user and a password file come together"),
        ({"tls_certificate": "x"}, "queue.options.tls_key: a certificate and its key come together"),
        ({"prefetch": 0}, "queue.options.prefetch: expected an integer >= 1"),
    ],
)
def test_a_mistake_names_its_key(given, words):
    """ConfigError."""
    with pytest.raises(ConfigError) as caught:
        read_options(given)
    assert str(caught.value).startswith(words)


def test_certificates_that_cannot_be_used(tmp_path):
    """Named, with the reason."""
    assert tls_context(Options()) is None
    (tmp_path / "x").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"queue\.options\.tls_ca: cannot use"):
        tls_context(Options(tls_ca=str(tmp_path / "x")))
    with pytest.raises(ConfigError, match=r"queue\.options\.tls_certificate: cannot use"):
        tls_context(Options(tls_certificate=str(tmp_path / "x"), tls_key=str(tmp_path / "x")))


async def test_no_broker_is_said_in_one_sentence(bench_on):
    """The daemon does not start."""
    with pytest.raises(QueueUnavailable, match=r"queue\.options\.servers: no NATS server answers"):
        async with bench_on("nats://127.0.0.1:9").open():
            pass


@pytest.mark.usefixtures("nats")
async def test_a_password_and_tls(bench_on, tmp_path):
    """Let in with both; a wrong password and a certificate of somebody else are named."""
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        str(tmp_path / "server.pem")
    )
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    extra = (
        f'tls {{ cert_file: "{tmp_path}/server.pem", key_file: "{tmp_path}/server.pem" }}\n'
        'authorization { user: "me", password: "s3cret" }'
    )
    await trio.Path(tmp_path / "right").write_text("s3cret")
    await trio.Path(tmp_path / "wrong").write_text("secret")
    async with open_server(tmp_path / "nats", jetstream=True, extra=extra) as server:
        bench = bench_on(server.url.replace("nats:", "tls:"))
        options = {"user": "me", "password_file": str(tmp_path / "right"), "tls_ca": str(tmp_path / "ca.pem")}
        async with bench.open(options=options) as queue:
            await queue.put(bench.call())
            assert (await bench.run(queue)).attempt == 1
        with pytest.raises(QueueBroken, match=r"queue\.options: NATS at"):
            async with bench.open(options=options | {"password_file": str(tmp_path / "wrong")}):
                pass
        trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        with pytest.raises(QueueBroken, match=r"queue\.options: NATS at .*: its certificate is not trusted"):
            async with bench.open(options=options):
                pass
    assert isinstance(tls_context(Options(tls_ca=str(Path(tmp_path) / "ca.pem"))), ssl.SSLContext)


@pytest.mark.usefixtures("nats")
async def test_a_server_without_jetstream(bench_on, tmp_path):
    """Said, not waited for without end."""
    async with open_server(tmp_path / "nats") as server:
        with trio.fail_after(10), pytest.raises(QueueUnavailable, match="JetStream is not switched on"):
            async with bench_on(server.url).open():
                pass


async def test_a_stream_that_is_not_ours(bench):
    """It is left alone, and the way out is told."""
    async with bench.open() as queue:
        api, name = queue._context.api, queue._context.names.calls
        await api.ask(f"STREAM.DELETE.{name}")
        await api.ask(
            f"STREAM.CREATE.{name}", {"name": name, "subjects": ["some.thing"], "storage": "memory"}
        )
    with pytest.raises(QueueBroken, match=r"choose another queue\.options\.prefix"):
        async with bench.open():
            pass


@pytest.mark.usefixtures("nats")
async def test_a_server_without_room(bench_on, tmp_path):
    """What reserves the room is named."""
    extra = f'jetstream {{ store_dir: "{tmp_path}/store", max_file_store: 100MB }}'
    async with open_server(tmp_path / "nats", extra=extra) as server:
        bench = bench_on(server.url)
        with pytest.raises(QueueBroken, match=r"lower that, or raise the server's max_file_store"):
            async with bench.open():
                pass
        async with bench.open(max_results_bytes=50_000_000) as queue:
            await queue.put(bench.call())


async def test_a_change_of_the_configuration_reaches_the_streams(bench):
    """At the next start; what cannot be changed stays, and is logged."""
    async with bench.open(max_results_bytes=1_000_000) as queue:
        name = f"KV_{queue._context.names.results}"
        assert (await queue._context.api.stream(name))["config"]["max_bytes"] == 1_000_000
    async with bench.open(options={"duplicate_window": "60s"}, max_results_bytes=2_000_000) as queue:
        assert (await queue._context.api.stream(name))["config"]["max_bytes"] == 2_000_000
        found = (await queue._context.api.stream(queue._context.names.calls))["config"]
        assert found["duplicate_window"] == 60 * 10**9
    async with bench.open(options={"storage": "memory"}) as queue:
        found = (await queue._context.api.stream(queue._context.names.calls))["config"]
        assert found["storage"] == "file"
        await queue.put(bench.call())


def test_every_setting_is_in_the_manual():
    """With its default."""
    page = (Path(__file__).parents[1] / "README.md").read_text()
    table = page.partition("## Settings")[2].partition("## What")[0]
    for key in Options.__struct_fields__:
        assert f"`{key}`" in table, key
