"""The servers that other tests start."""

import os

import pytest

from faasd_py_natsclient import connect
from faasd_py_natsclient.testing import NoServer, free_port, open_cluster, open_server, wait_cluster


async def test_a_server_starts_is_killed_and_starts_again(tmp_path, nats_server):
    """Same port, same files; gone at the end of the block."""
    async with open_server(tmp_path) as server:
        first, port = server.pid, server.port
        await server.kill()
        await server.kill()
        assert server.pid is None
        await server.restart()
        second = server.pid
        assert (server.port, second != first) == (port, True)
        await server.restart()
        await server.terminate()
        await server.start()
        last = server.pid
    for pid in [first, second, last]:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_jetstream_keeps_its_files_over_a_kill(tmp_path, nats_server):
    """A stream that was made is there after kill -9."""
    async with open_server(tmp_path, jetstream=True) as server:
        async with connect([server.url]) as client:
            made = await client.request(
                "$JS.API.STREAM.CREATE.S", b'{"name":"S","subjects":["s"]}', timeout=5
            )
            assert b'"error"' not in made.data
        await server.restart()
        async with connect([server.url]) as client:
            names = await client.request("$JS.API.STREAM.NAMES", b"", timeout=5)
            assert b'"S"' in names.data


async def test_a_cluster_elects_and_survives_a_member(tmp_path, nats_server):
    """Three servers, JetStream at each; one killed and restarted finds its place again."""
    async with open_cluster(3, tmp_path) as servers:
        assert len({server.port for server in servers}) == 3
        async with connect([servers[0].url]) as client:
            config = b'{"name":"S","subjects":["s"],"num_replicas":3}'
            made = await client.request("$JS.API.STREAM.CREATE.S", config, timeout=10)
            assert b'"error"' not in made.data
        await servers[1].restart()
        await wait_cluster(servers)


async def test_a_server_that_does_not_start_says_why(tmp_path, nats_server):
    """Its log is quoted."""
    with pytest.raises(NoServer, match="did not start"):
        async with open_server(tmp_path, extra="no_such_setting: 1"):
            pass


def test_free_ports_are_below_the_kernels_own():
    """No client's own port can be one of them."""
    assert all(free_port() < 30_000 for _ in range(20))
