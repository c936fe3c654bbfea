"""`/system/secrets` and `/system/namespaces` over HTTP, on both sockets: statuses and bytes that faas-cli needs."""

import base64
import json

import pytest

MARKED = {"openfaas": "1"}


@pytest.fixture(params=["control", "admin"])
def system(request):
    return request.getfixturevalue({"control": "ask", "admin": "admin"}[request.param])


async def body(system, method, path, **value):
    return await system(method, path, json.dumps(value))


async def test_the_life_of_a_secret(system, daemon):
    """201, 409, listed without its value, 200, 202, 404."""
    secret = {"name": "key", "namespace": "openfaas-fn", "value": "hush"}
    assert (await body(system, "POST", "/system/secrets", **secret)).status == 201
    again = await body(system, "POST", "/system/secrets", **secret)
    assert (again.status, again.body) == (409, b"secret key already exists in namespace openfaas-fn\n")
    assert again.headers["content-type"] == "text/plain; charset=utf-8"
    listed = await system("GET", "/system/secrets?namespace=openfaas-fn")
    assert listed.json == [{"name": "key", "namespace": "openfaas-fn"}]
    changed = await body(system, "PUT", "/system/secrets", name="key", value="new")
    assert (changed.status, changed.body) == (200, b"")
    assert (daemon.secrets.directory("openfaas-fn") / "key").read_text() == "new"
    assert (await body(system, "DELETE", "/system/secrets", name="key")).status == 202
    assert (await body(system, "DELETE", "/system/secrets", name="key")).status == 404
    assert (await body(system, "PUT", "/system/secrets", name="key", value="x")).status == 404


async def test_bytes_win_over_text(system, daemon):
    """As faas-cli sends both for a file."""
    raw = base64.b64encode(b"\x00\xff").decode()
    await body(system, "POST", "/system/secrets", name="key", value="\ufffd", rawValue=raw)
    assert (daemon.secrets.directory("openfaas-fn") / "key").read_bytes() == b"\x00\xff"


async def test_the_namespace_comes_in_the_body_or_in_the_query(system, daemon):
    """New clients do the one, old ones the other; the body wins."""
    await body(system, "POST", "/system/namespace/", name="shop", labels=MARKED)
    await body(system, "POST", "/system/secrets", name="one", value="x", namespace="shop")
    await body(system, "POST", "/system/secrets?namespace=shop", name="two", value="x")
    await body(system, "POST", "/system/secrets?namespace=nowhere", name="three", value="x", namespace="shop")
    listed = await system("GET", "/system/secrets?namespace=shop")
    assert [secret["name"] for secret in listed.json] == ["one", "three", "two"]
    assert (await system("GET", "/system/secrets")).json == []
    gone = await body(system, "DELETE", "/system/secrets?namespace=shop", name="two")
    assert gone.status == 202


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ("", "expected a body"),
        ("{", "the body cannot be read: input data was truncated"),
        ("[]", "the body cannot be read: expected `object`, got `array`"),
        ('{"name":1}', "the body cannot be read: expected `str`, got `int` - at `$.name`"),
        ('{"name":"k","rawValue":"%%%"}', "the body cannot be read: invalid base64 encoded string - at `$.rawValue`"),
        ('{"name":" ","value":"x"}', "non-empty name is required"),
        ('{"name":"k"}', "value or rawValue is required"),
        ('{"name":"../k","value":"x"}', "secret name: '/' and '..' are not allowed, for it is the name of a file"),
        ('{"name":"k","value":"x","namespace":"no"}', "namespace not valid: there is no namespace 'no'"),
        ('{"name":"k","value":"\\ud800"}', None),
        ("[" * 100_000, None),
    ],
)  # fmt: skip
async def test_what_cannot_be_used_is_answered_400(system, sent, sentence):
    """With the place, and never the value."""
    answer = await system("POST", "/system/secrets", sent)
    assert answer.status == 400
    if sentence is not None:
        assert answer.body.decode() == f"{sentence}\n"


async def test_the_life_of_a_namespace(system):
    """201, 409, shown, 202, 404; both spellings of the path."""
    for base in ("/system/namespace/", "/system/namespaces/"):
        new = {"name": "shop", "labels": MARKED, "annotations": MARKED}
        assert (await body(system, "POST", base, **new)).status == 201
        twice = await body(system, "POST", base, **new)
        assert (twice.status, twice.body) == (409, b"namespace shop already exists\n")
        assert (await system("GET", "/system/namespaces")).json == ["openfaas-fn", "shop"]
        assert (await system("GET", f"{base}shop")).json == new
        assert (await body(system, "PUT", f"{base}shop", labels=MARKED | {"a": "b"})).status == 202
        assert (await system("GET", f"{base}shop")).json == {"name": "shop", "labels": MARKED | {"a": "b"}}
        assert (await body(system, "DELETE", f"{base}shop", **new)).status == 202
        missing = await body(system, "DELETE", f"{base}shop", **new)
        assert (missing.status, missing.body) == (404, b"namespace shop not found\n")


async def test_a_namespace_that_has_functions_stays(system, daemon):
    """409 names them."""
    await body(system, "POST", "/system/namespace/", name="shop", labels=MARKED)
    daemon.registry.functions()[0].namespace = "shop"
    refused = await body(system, "DELETE", "/system/namespace/shop", name="shop", labels=MARKED)
    assert (refused.status, refused.body) == (409, b"namespace shop has functions: resize\n")


@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        ("POST", "/system/namespace/", {"name": "shop"}, 400),
        ("POST", "/system/namespace/", {"name": "../shop", "labels": MARKED}, 400),
        ("PUT", "/system/namespace/shop", {"name": "other", "labels": MARKED}, 400),
        ("PUT", "/system/namespace/shop", {"labels": MARKED}, 404),
        ("DELETE", "/system/namespace/openfaas-fn", {"labels": MARKED}, 409),
        ("GET", "/system/namespace/..%2fsecrets", None, 404),
        ("POST", "/system/namespace", {"name": "openfaas-fn", "labels": MARKED}, 409),
    ],
)
async def test_what_is_refused_about_namespaces(system, method, path, sent, status):
    """With its status."""
    answer = await system(method, path, None if sent is None else json.dumps(sent))
    assert answer.status == status
