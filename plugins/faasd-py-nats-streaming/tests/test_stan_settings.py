"""[queue.options]: what is wrong is named by its key."""

from __future__ import annotations

import pytest

from faasd_py.api import ConfigError
from faasd_py_nats_streaming.settings import read_options, tls_context


def test_the_defaults_are_openfaas_own():
    """Cluster, subject, group and durable as its queue-worker has them; a client id of this host."""
    options = read_options({})
    assert (options.cluster_id, options.subject, options.queue_group) == (
        "faas-cluster",
        "faas-request",
        "faas",
    )
    assert options.durable == "faas-request"
    assert read_options({"subject": "a.b"}).durable == "a_b"
    assert options.client_id.startswith("faasd-py-")
    assert (options.format, options.consume, options.shared) == ("native", True, False)


def test_durations_and_sizes_are_read_as_people_write_them():
    """As everywhere in config.toml."""
    options = read_options({"ack_wait": "5m5s", "put_timeout": 3, "channel_max_bytes": "2GiB"})
    assert (options.ack_wait, options.put_timeout, options.channel_max_bytes) == (305, 3, 2 << 30)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sbject": "x"}, "queue.options.sbject: there is no such setting"),
        ({"servers": []}, "queue.options.servers: expected at least one address"),
        ({"servers": "nats://x"}, "queue.options.servers: expected an array, got"),
        ({"format": "json"}, 'queue.options.format: expected "native" or "openfaas"'),
        ({"ack_wait": "soon"}, "queue.options.ack_wait: expected a duration"),
        ({"ack_wait": "10ms"}, "queue.options.ack_wait: expected at least 1s"),
        ({"max_in_flight": 0}, "queue.options.max_in_flight: expected an integer >= 1"),
        ({"subject": "a.*"}, "queue.options.subject: expected words"),
        ({"subject": "a..b"}, "queue.options.subject: expected words"),
        ({"client_id": "a.b"}, "queue.options.client_id: expected letters"),
        ({"cluster_id": ""}, "queue.options.cluster_id: expected letters"),
        ({"queue_group": "a:b"}, "queue.options.queue_group: expected letters"),
        ({"durable": "a b"}, "queue.options.durable: expected letters"),
        ({"consume": False}, "queue.options.consume: only the openfaas format"),
        (
            {"format": "openfaas", "subject_per_function": True},
            "queue.options.subject_per_function: only the native",
        ),
        ({"tls_key": "x"}, "queue.options.tls_key: a certificate and its key"),
        ({"user": "x"}, "queue.options.password_file: a user and a password file"),
        ({"ping_interval": 0}, "queue.options.ping_interval: expected more"),
        ({"channel_max_bytes": "many"}, "queue.options.channel_max_bytes: expected a size"),
        ({"shared": "yes"}, "queue.options.shared: expected true or false"),
    ],
)
def test_what_is_wrong_is_named(given, said):
    """One sentence that begins with the key."""
    with pytest.raises(ConfigError) as caught:
        read_options(given)
    assert str(caught.value).startswith(said)


def test_certificates_that_cannot_be_used_are_named(tmp_path):
    """One sentence that begins with the key."""
    (tmp_path / "s").write_text(" word\n")
    for given in ({"tls_ca": str(tmp_path / "s")}, {"tls_ca": str(tmp_path / "none")}):
        with pytest.raises(ConfigError, match=r"queue\.options\.tls_ca: cannot use"):
            tls_context(read_options(given))
    with pytest.raises(ConfigError, match=r"queue\.options\.tls_certificate: cannot use"):
        tls_context(read_options({"tls_certificate": str(tmp_path / "s"), "tls_key": str(tmp_path / "s")}))
    assert tls_context(read_options({})) is None
