"""The gate: who is let in, and what a refusal costs; with time that is made of nothing."""

from __future__ import annotations

import base64

import pytest
import trio

from faasd_py.auth.basic import Credentials
from faasd_py.auth.keyring import Keyring
from faasd_py.auth.keys import Keys
from faasd_py.auth.slowdown import MOST
from faasd_py.config import AuthSettings, FunctionSettings
from faasd_py.gateway.gate import MOST_WAITING, WINDOW, Gate

RIGHT, WRONG = (b"Basic " + base64.b64encode(b"admin:" + word) for word in (b"word", b"guess"))


class Exchange:
    """A request from `peer` that remembers its answer."""

    def __init__(self, *said: bytes, peer: bytes = b"10.0.0.1:1234") -> None:
        self.headers = b"".join(b"Authorization: %b\r\n" % value for value in said)
        self.peer = peer
        self.target = b"/system/functions?secret=1"
        self.method = b"GET"
        self.host = b"box:8080"
        self.status = 0
        self.lines = b""

    async def answer(self, status: int, headers: bytes, body: bytes) -> None:
        self.status, self.lines = status, headers


@pytest.fixture
def failures() -> list[str]:
    """The refusals that were counted."""
    return []


@pytest.fixture
def gate(tmp_path, failures) -> Gate:
    keys = Keys(credentials=Credentials(b"admin", b"word"), tokens=(), path=tmp_path / "t", managed=True)
    return Gate(Keyring(keys), AuthSettings(), failures.append)


@pytest.mark.parametrize("open_to_all", [False, True])
async def test_a_page_of_another_site_changes_nothing(gate, failures, open_to_all):
    """Not with the right credentials, and not where nobody needs any; it may look, which its script cannot read."""
    gate = Gate(failed=failures.append) if open_to_all else gate
    exchange = Exchange(RIGHT)
    exchange.headers += b"Origin: http://evil.example\r\n"
    assert await gate.operator(exchange) is not None
    exchange.method = b"POST"
    assert await gate.operator(exchange) is None
    assert (exchange.status, failures) == (403, ["cross-site"])


async def asked(gate: Gate, *said: bytes, peer: bytes = b"10.0.0.1:1234") -> tuple[int, float]:
    """The status (0: let in), and how long it took."""
    exchange, begun = Exchange(*said, peer=peer), trio.current_time()
    await gate.operator(exchange)
    return exchange.status, trio.current_time() - begun


async def test_only_refusals_wait(gate, autojump_clock):
    """They wait longer and longer, up to two seconds; whoever is right is let in at once, from the same address, too."""
    waits = [(await asked(gate, WRONG))[1] for _ in range(9)]
    assert waits == [0, 0, 0, 0.125, 0.25, 0.5, 1.0, 2.0, 2.0]
    assert await asked(gate, RIGHT) == (0, 0)
    assert await asked(gate, WRONG) == (401, 2.0)


async def test_who_says_nothing_has_not_guessed(gate, autojump_clock):
    """Browsers ask without credentials first."""
    assert [await asked(gate) for _ in range(9)] == [(401, 0)] * 9


async def test_two_credentials_are_none(gate, autojump_clock):
    """Else which of them counts would be anybody's guess."""
    assert await asked(gate, RIGHT, RIGHT) == (401, 0)


async def test_others_are_not_held_up(gate, autojump_clock):
    """While one waits, another address is answered, and forgiven nothing."""
    for _ in range(9):
        await asked(gate, WRONG)
    done = []

    async def one(peer: bytes, *said: bytes) -> None:
        await asked(gate, *said, peer=peer)
        done.append(peer)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, b"10.0.0.1:1", WRONG)
        nursery.start_soon(one, b"10.0.0.2:1", WRONG)
        nursery.start_soon(one, b"10.0.0.1:2", RIGHT)
    assert done[-1] == b"10.0.0.1:1"


async def test_waiting_is_bounded(gate, autojump_clock):
    """Each that waits holds a connection: beyond MOST_WAITING, refusals are given at once."""
    for _ in range(9):
        await asked(gate, WRONG)
    waits = []

    async def one() -> None:
        waits.append((await asked(gate, WRONG))[1])

    async with trio.open_nursery() as nursery:
        for _ in range(MOST_WAITING + 50):
            nursery.start_soon(one)
    assert sorted(waits) == [0.0] * 50 + [2.0] * MOST_WAITING
    assert (await asked(gate, WRONG))[1] == 2.0


async def test_ten_thousand_addresses_stay_bounded(gate, caplog, autojump_clock):
    """What is remembered of them is, and what is logged."""
    for number in range(10_000):
        await asked(gate, WRONG, peer=b"10.0.%d.%d:1" % divmod(number, 250))
    assert len(gate._slow) == MOST
    assert len(caplog.records) == 1


async def test_who_gives_up_waits_no_longer(gate, autojump_clock):
    """A cancelled request leaves no place taken."""
    for _ in range(9):
        await asked(gate, WRONG)
    for _ in range(MOST_WAITING * 2):
        with trio.move_on_after(0.001):
            await asked(gate, WRONG)
    assert (await asked(gate, WRONG))[1] == 2.0


async def test_the_log_says_who_and_where_and_never_what(gate, failures, caplog, autojump_clock):
    """One line a window, whoever it is; no query, no credentials. The counter has them all."""
    for number in range(50):
        await asked(gate, WRONG, peer=b"10.0.0.%d:1" % number)
    await trio.sleep(WINDOW)
    await asked(gate, WRONG, peer=b"10.0.1.1:1")
    assert [record.getMessage() for record in caplog.records] == [
        "refused wrong credentials from 10.0.0.0 for /system/functions",
        "refused wrong credentials from 10.0.1.1 for /system/functions (49 more since the last such line)",
    ]
    assert failures == ["credentials"] * 51


async def test_a_name_that_leads_here(gate, failures):
    """Where nobody is asked, the host has to be known; where somebody is, browsers have no credentials for another one."""
    exchange = Exchange(RIGHT)
    exchange.host = b"evil.example:8080"
    assert await gate.operator(exchange) is not None
    gate.reconfigure(AuthSettings(enabled=False), ("Gateway.example",))
    assert await gate.operator(exchange) is None
    assert (exchange.status, failures) == (403, ["host"])
    exchange.host = b"gateway.EXAMPLE:8080"
    assert await gate.operator(exchange) is not None


@pytest.mark.parametrize(
    ("default", "own", "asks"),
    [(False, None, False), (True, None, True), (False, True, True), (True, False, False)],
)
async def test_which_functions_ask(gate, default, own, asks):
    """Their own word goes before the default."""
    gate.reconfigure(AuthSettings(functions=default), ())
    assert gate.guards(FunctionSettings(auth=own)) is asks


async def test_switched_off(gate):
    """Operators are everyone; a function that asks goes on asking."""
    gate.reconfigure(AuthSettings(enabled=False), ())
    assert (await gate.operator(Exchange())).name == "everyone"
    exchange = Exchange()
    assert not await gate.caller(exchange)
    assert exchange.status == 401


async def test_without_a_keyring_nobody_comes_in_where_somebody_asks():
    """A gate that was given nothing is not open where a function says that it asks."""
    gate, exchange = Gate(), Exchange(RIGHT)
    assert gate.guards(FunctionSettings(auth=True))
    assert not await gate.caller(exchange)
    assert exchange.status == 401


async def test_a_target_cannot_forge_a_line_of_the_log(gate, caplog):
    """It is cut, and has no line ends to begin with."""
    exchange = Exchange(WRONG)
    exchange.target = b"/system/" + b"x" * 5000
    await gate.operator(exchange)
    assert len(caplog.records[0].getMessage()) < 200
