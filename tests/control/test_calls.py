"""What the calls API is asked for: namespaces, odd ids, and the same answers on both sockets."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from faasd_py.core.lifecycle import State


async def test_both_sockets_have_it(ask, admin, daemon):
    """The door's and the command line's answers are the same."""
    call = daemon.queue.add(State.DEAD)
    for target in ("/system/calls", f"/system/calls/{call}", "/system/queue"):
        assert (await ask("GET", target)).json == (await admin("GET", target)).json
    assert (await ask("POST", f"/system/calls/{call}/requeue")).json == {"id": call, "state": "ready"}
    assert (await ask("POST", f"/system/calls/{call}/cancel")).json == {"id": call, "state": "cancelled"}
    assert (await ask("DELETE", f"/system/calls/{call}")).json == {"id": call, "state": "gone"}


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("namespace=team", 2),
        ("namespace=team&function=other", 1),
        ("namespace=team&function=other.team", 1),
        ("namespace=openfaas-fn", 1),
        ("namespace=nobody", 0),
        ("namespace=team&state=dead", 1),
        ("namespace=", 4),
    ],
)
async def test_a_namespace(ask, daemon, query, count):
    """Of all its functions, or of one; callbacks are in none."""
    daemon.queue.add()
    daemon.queue.add(lane="other.team")
    daemon.queue.add(State.DEAD, lane="more.team")
    daemon.queue.add(lane="callback:hooks.team")
    assert len((await ask("GET", f"/system/calls?{query}")).json["calls"]) == count


async def test_pages_of_a_namespace(ask, daemon):
    """`next` leads through all of them, once each."""
    for number in range(12):
        daemon.queue.add(lane=("a.team", "b.other")[number % 2])
    seen, query = [], ""
    while query is not None:
        page = (await ask("GET", f"/system/calls?namespace=team&limit=4{query}")).json
        seen += [call["id"] for call in page["calls"]]
        query = f"&before={page['next']}" if "next" in page else None
    assert seen == sorted((r.id for r in daemon.queue.calls.values() if r.lane == "a.team"), reverse=True)


async def test_a_rare_namespace_is_not_searched_for_without_end(ask, daemon):
    """A page looks at a bounded number of calls: it may be empty, and lead on."""
    mine = daemon.queue.add(lane="a.team")
    for _ in range(5500):
        daemon.queue.add()
    page = (await ask("GET", "/system/calls?namespace=team")).json
    assert page["calls"] == []
    page = (await ask("GET", f"/system/calls?namespace=team&before={page['next']}")).json
    assert [call["id"] for call in page["calls"]] == [mine]
    assert "next" not in page


@pytest.mark.parametrize(
    ("method", "target", "sentence"),
    [
        ("GET", "/system/calls?namespace=a%20b", "namespace: expected a name, got 'a b'"),
        ("GET", "/system/calls?namespace=..%2F..", "namespace: expected a name, got '../..'"),
        ("GET", "/system/calls?namespace=b&function=x.a", "namespace: x.a is not in namespace b"),
        ("POST", "/system/calls/requeue?namespace=b", "namespace: name the function, too"),
        ("POST", "/system/calls/purge?namespace=b&state=dead", "namespace: name the function, too"),
    ],
)
async def test_bad_namespaces(ask, method, target, sentence):
    """400 with the reason."""
    answer = await ask(method, target)
    assert (answer.status, answer.json) == (400, {"error": sentence})


@pytest.mark.parametrize(
    "call",
    [
        "../../etc/passwd",
        "a/b/c",
        "%00",
        "é",
        "x" * 300,
        "a b",
        "a%2Fb",
        ".",
        "'; DROP TABLE calls; --",
        "id?x",
        "#",
    ],
)
@pytest.mark.parametrize(
    ("method", "rest"), [("GET", ""), ("GET", "/result"), ("POST", "/cancel"), ("DELETE", "")]
)
async def test_ids_are_only_ids(ask, call, method, rest):
    """Whatever stands in an id's place is looked for, and not found."""
    answer = await ask(method, f"/system/calls/{quote(call, safe='')}{rest}")
    assert answer.status == 404
    assert answer.json["error"].startswith("call ")


async def test_an_id_that_is_too_long(ask):
    """Nobody has one: it is not even looked for."""
    answer = await ask("GET", f"/system/calls/{'x' * 5000}")
    assert (answer.status, answer.json) == (400, {"error": "an id has at most 1024 characters"})


async def test_an_id_with_slashes_is_found(ask, daemon):
    """As it was given, percent-encoded."""
    call = daemon.queue.add(call_id="a/b c/ü?")
    assert (await ask("GET", f"/system/calls/{quote('a/b c/ü?', safe='')}")).json["id"] == call


@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD", "OPTIONS"])
async def test_methods(ask, method):
    """405 without a body."""
    answer = await ask(method, "/system/calls/x")
    assert (answer.status, answer.body) == (405, b"")
