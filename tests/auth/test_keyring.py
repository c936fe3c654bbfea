"""Recognising who asks; tokens made, kept, revoked."""

import base64
import json
import stat
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
import trio

from faasd_py.auth.basic import Credentials
from faasd_py.auth.keyring import Keyring, NoSuchToken, TokenConflict
from faasd_py.auth.keys import Keys, load
from faasd_py.auth.token import Token
from faasd_py.auth.tokens import MOST
from faasd_py.config import AuthSettings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECONDS = NOW.timestamp()


def basic(user: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "auth" / "tokens.json"


@pytest.fixture
def ring(path):
    return Keyring(Keys(credentials=Credentials(b"admin", b"word"), tokens=(), path=path, managed=True))


def who(ring: Keyring, value: bytes, now: float = SECONDS) -> tuple[str, set[str]] | None:
    found = ring.identify(value, now)
    return found and (found.name, set(found.scopes))


def test_the_user_may_do_everything(ring):
    """And is not called by the name that was sent."""
    assert who(ring, basic("admin", "word")) == ("basic", {"invoke", "read", "admin"})


@pytest.mark.parametrize(
    "value", [basic("admin", "no"), basic("x", "word"), b"Bearer word", b"Basic", b"", b"Bearer fpy_x"]
)
def test_others_are_nobody(ring, value):
    """None, whatever is wrong with it."""
    assert who(ring, value) is None


def test_without_a_password_nobody_comes_in_by_one(path):
    """Not even by an empty one."""
    ring = Keyring(Keys(credentials=None, tokens=(), path=path, managed=True))
    assert who(ring, basic("", "")) is None


async def test_a_token_is_made(ring, path):
    """It is recognised at once, and after a restart; the file has its digest alone, mode 0600."""
    made, secret = await ring.create("ci", ("read", "invoke", "read"), now=NOW, expires_at=None)
    assert secret.startswith("fpy_")
    assert len(base64.urlsafe_b64decode(secret.removeprefix("fpy_") + "=")) == 32
    assert made == Token(
        name="ci", scopes=("invoke", "read"), sha256=sha256(secret.encode()).hexdigest(), created_at=NOW
    )
    assert who(ring, b"Bearer " + secret.encode()) == ("ci", {"invoke", "read"})
    assert secret not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["tokens"][0]["name"] == "ci"
    again = Keyring(load(AuthSettings(enabled=False), path.parents[1], {}))
    assert who(again, b"bearer " + secret.encode()) == ("ci", {"invoke", "read"})
    assert again.tokens == ring.tokens


async def test_no_two_are_alike(ring):
    """Neither their texts nor their names."""
    _, one = await ring.create("a", ("read",), now=NOW, expires_at=None)
    _, two = await ring.create("b", ("read",), now=NOW, expires_at=None)
    assert one != two
    with pytest.raises(TokenConflict, match='there is a token called "a" already'):
        await ring.create("a", ("admin",), now=NOW, expires_at=None)
    assert who(ring, b"Bearer " + one.encode()) == ("a", {"read"})


async def test_a_token_expires(ring):
    """In the very second; it stays listed."""
    _, secret = await ring.create("ci", ("read",), now=NOW, expires_at=NOW + timedelta(seconds=60))
    value = b"Bearer " + secret.encode()
    assert who(ring, value, SECONDS + 59.9) is not None
    assert who(ring, value, SECONDS + 60) is None
    assert [token.name for token in ring.tokens] == ["ci"]


async def test_a_token_is_revoked(ring, path):
    """At once, and after a restart; the others stay."""
    (_, gone), (_, stays) = [await ring.create(name, ("read",), now=NOW, expires_at=None) for name in "ab"]
    assert (await ring.revoke("a")).name == "a"
    for keyring in (ring, Keyring(load(AuthSettings(enabled=False), path.parents[1], {}))):
        assert who(keyring, b"Bearer " + gone.encode()) is None
        assert who(keyring, b"Bearer " + stays.encode()) is not None
    with pytest.raises(NoSuchToken, match='there is no token called "a"'):
        await ring.revoke("a")


async def test_many_at_once_lose_none(ring, path):
    """Each is written before the next."""
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(
                lambda name=f"t{number}": ring.create(name, ("read",), now=NOW, expires_at=None)
            )
    kept = json.loads(path.read_text())["tokens"]
    assert sorted(token["name"] for token in kept) == sorted(f"t{number}" for number in range(20))


async def test_there_is_a_bound(ring, path):
    """The file never outgrows what is read."""
    many = tuple(Token(name=f"t{n}", scopes=("read",), sha256=f"{n:064x}") for n in range(MOST))
    ring.use(Keys(credentials=None, tokens=many, path=path, managed=True))
    with pytest.raises(TokenConflict, match="there are 1000 tokens"):
        await ring.create("more", ("read",), now=NOW, expires_at=None)
    await ring.revoke("t5")
    await ring.create("more", ("read",), now=NOW, expires_at=None)
    assert len(load(AuthSettings(enabled=False), path.parents[1], {}).tokens) == MOST


@pytest.mark.parametrize("name", ["", "-a", "a-", "a b", "a;b", "ä", "a" * 64, "a\r\nb", "a/b"])
async def test_names_that_are_refused(ring, name, path):
    """They stand in header lines, paths and logs."""
    with pytest.raises(ValueError, match="name: expected 1 to 63 letters"):
        await ring.create(name, ("read",), now=NOW, expires_at=None)
    assert not path.exists()


async def test_a_file_that_is_not_ours_is_not_written(path):
    """It is changed where it comes from."""
    ring = Keyring(Keys(credentials=None, tokens=(), path=path, managed=False))
    for change in (lambda: ring.create("a", ("read",), now=NOW, expires_at=None), lambda: ring.revoke("a")):
        with pytest.raises(
            TokenConflict, match=f"auth.tokens names {path}: change the tokens there, then reload"
        ):
            await change()
    assert not path.exists()


async def test_what_cannot_be_written_is_not_in_force(ring, path):
    """A token that a restart would forget was never made, and one that it would bring back is not revoked."""
    await ring.create("a", ("read",), now=NOW, expires_at=None)
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError):
        await ring.create("b", ("read",), now=NOW, expires_at=None)
    with pytest.raises(OSError):
        await ring.revoke("a")
    assert [token.name for token in ring.tokens] == ["a"]
    assert [found.name for found in path.parent.iterdir()] == ["tokens.json"]
