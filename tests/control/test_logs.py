"""`GET /system/logs` as OpenFaaS has it, and what it has besides; the same on both sockets."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
import trio

from faasd_py.control import logs
from faasd_py.control.log_query import RECENT, read
from faasd_py.control.logs import instant
from faasd_py.observe.logbook import open_logbook
from tests.control.conftest import Steps
from tests.observe.logbook_ground import MIB, Words, fds, poll, say

ASKS = pytest.mark.parametrize("socket", ["control.sock", "admin.sock"])


def queried(**parameters: str):
    return read(lambda key: parameters.get(key, ""), "openfaas-fn", 10**18)


def nanoseconds(since: str) -> int:
    return queried(name="a", since=since).wanted.since


def test_a_query_says_which_function() -> None:
    """The namespace in its own parameter, behind the name, or the default one."""
    assert queried(name="a").label == "a.openfaas-fn"
    assert queried(name="a.dev").label == "a.dev"
    assert queried(name="a", namespace="dev").label == "a.dev"
    assert (queried(name="a.dev").name, queried(name="a.dev").namespace) == ("a", "dev")
    for name in ("", "."):
        with pytest.raises(ValueError, match="name is missing"):
            queried(name=name)


def test_defaults_are_five_minutes_and_all_lines() -> None:
    """And nothing else is asked for."""
    query = queried(name="a")
    assert query.wanted.since == 10**18 - RECENT
    assert (query.wanted.tail, query.wanted.instance, query.wanted.call_id) == (0, None, None)
    assert not query.follow
    assert not query.more


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-24T10:00:00Z", 1_795_514_400 * 10**9),
        ("2026-11-24T10:00:00.5Z", 1_795_514_400_500_000_000),
        ("2026-11-24T10:00:00.123456789Z", 1_795_514_400_123_456_789),
        ("2026-11-24T10:00:00.1234567899Z", 1_795_514_400_123_456_789),
        ("2026-11-24T11:30:00+01:30", 1_795_514_400 * 10**9),
        ("1970-01-01T00:00:00Z", 0),
        ("0001-01-01T00:00:00Z", -62_135_596_800 * 10**9),
    ],
)
def test_since_is_exact(text: str, expected: int) -> None:
    """To the nanosecond, in any zone."""
    assert nanoseconds(text) == expected


@pytest.mark.parametrize(
    "since",
    ["yesterday", "10m", "2026-11-24", "2026-11-24T10:00:00", "2026-13-24T10:00:00Z", "2026-11-24 10:00:00Z", "1795514400", "2026-11-24T10:00:00+99:00"],
)  # fmt: skip
def test_what_is_no_time_is_refused(since: str) -> None:
    """RFC 3339 with a zone, nothing else."""
    with pytest.raises(ValueError, match=r".+"):
        nanoseconds(since)


@pytest.mark.parametrize(
    ("text", "tail"), [("-1", 0), ("0", 0), ("", 0), ("7", 7), ("+7", 7), ("9" * 18, 1 << 31)]
)
def test_tail_is_a_number(text: str, tail: int) -> None:
    """Below 1 it means all."""
    assert queried(name="a", tail=text).wanted.tail == tail


@pytest.mark.parametrize("text", ["x", "1.5", "1e3", "٣", "9" * 30, " 1", "--1"])
def test_other_tails_are_refused(text: str) -> None:
    """They are no integers."""
    with pytest.raises(ValueError, match="tail"):
        queried(name="a", tail=text)


@pytest.mark.parametrize("word", ["1", "t", "T", "true", "TRUE", "True"])
def test_words_for_true(word: str) -> None:
    """As Go reads them."""
    assert queried(name="a", follow=word).follow


@pytest.mark.parametrize("word", ["0", "f", "false", "yes", "on", "tRue", ""])
def test_everything_else_is_false(word: str) -> None:
    """Also what cannot be understood."""
    assert not queried(name="a", follow=word).follow


def test_instants_have_nanoseconds() -> None:
    """Always nine places."""
    assert instant(1_795_514_400_000_000_005) == "2026-11-24T10:00:00.000000005Z"
    assert nanoseconds(instant(1_795_514_400_123_456_789)) == 1_795_514_400_123_456_789


@pytest.fixture
async def book(daemon, tmp_path: Path):
    """The daemon's logbook."""
    (tmp_path / "logs").mkdir()
    async with open_logbook(tmp_path / "logs", Words(per_function=32 * MIB, total=64 * MIB)) as book:
        daemon.logbook = book
        yield book


@pytest.fixture
async def stream(book, served):
    """Ask, and read lines as they come; hangs up in the end."""
    wires = []

    async def one(query: str, socket: str = "control.sock") -> Stream:
        wire = await trio.open_unix_socket(served / socket)
        wires.append(wire)
        await wire.send_all(
            b"GET /system/logs?%s HTTP/1.1\r\nHost: x\r\nX-Faasd-Py-Identity: reader;read\r\n\r\n"
            % query.encode()
        )
        return Stream(wire)

    yield one
    for wire in wires:
        await wire.aclose()


class Stream:
    """A chunked answer, line by line."""

    def __init__(self, wire: trio.SocketStream) -> None:
        self.wire = wire
        self._data = b""
        self._body = b""
        self.head = b""
        self.over = False

    async def line(self) -> dict[str, str] | None:
        """The next one; None at the end of the answer."""
        while b"\n" not in self._body and not self.over:
            await self._more()
        if not self._body:
            return None
        raw, _, self._body = self._body.partition(b"\n")
        return msgspec.json.decode(raw)

    async def texts(self, count: int) -> list[str]:
        """What the next lines say."""
        return [(await self.line() or {})["text"] for _ in range(count)]

    async def start(self) -> bytes:
        """The head, which comes before any line."""
        while not self.head:
            await self._more()
        return self.head

    async def _more(self) -> None:
        data = await self.wire.receive_some(65536)
        assert data, "broken off"
        self._data += data
        if not self.head:
            head, end, rest = self._data.partition(b"\r\n\r\n")
            if end:
                self.head, self._data = head, rest
        while self.head and b"\r\n" in self._data:
            size, _, rest = self._data.partition(b"\r\n")
            length = int(size, 16)
            if len(rest) < length + 2:
                return
            self._body += rest[:length]
            self._data = rest[length + 2 :]
            self.over = not length


@ASKS
async def test_lines_are_ndjson(book, served, stream, socket: str) -> None:
    """Type and keys as OpenFaaS has them, all always there."""
    book.line("resize.openfaas-fn", "hello", "stderr", "4711", "c-1")
    book.line("resize.openfaas-fn", "anyone?", "stdout", "", "")
    answer = await stream("name=resize", socket)
    one, two = await answer.line(), await answer.line()
    assert await answer.line() is None
    assert answer.head.startswith(b"HTTP/1.1 200")
    assert b"content-type: application/x-ndjson" in answer.head.lower()
    assert one.pop("timestamp") <= two.pop("timestamp")
    assert one == {"name": "resize", "namespace": "openfaas-fn", "instance": "4711", "text": "hello"}
    assert two == {"name": "resize", "namespace": "openfaas-fn", "instance": "", "text": "anyone?"}


async def test_many_lines_are_put_into_words_in_steps(stream, book) -> None:
    """Calls go on between them; none is lost, and their order is theirs."""
    words = [str(number) for number in range(2000)]
    say(book, *words, label="resize.openfaas-fn")
    seen = Steps()
    trio.lowlevel.add_instrument(seen)
    answer = await stream("name=resize")
    assert await answer.texts(len(words)) == words
    trio.lowlevel.remove_instrument(seen)
    assert seen.count >= len(words) / logs.AT_ONCE


async def test_more_tells_stream_and_call(stream, book) -> None:
    """Our own addition: only who asks for it is told."""
    book.line("resize.openfaas-fn", "hello", "stderr", "4711", "c-1")
    answer = await stream("name=resize&more=1")
    line = await answer.line()
    assert list(line) == ["name", "namespace", "instance", "timestamp", "text", "stream", "call_id"]
    assert (line["stream"], line["call_id"]) == ("stderr", "c-1")


async def test_filters(ask, book) -> None:
    """By instance, call, time, and how many; the last of a repeated parameter counts."""
    label = "resize.openfaas-fn"
    for number in range(10):
        say(book, f"line {number}", label=label, instance=str(number % 2), call_id=f"c{number % 5}")

    async def found(query: str) -> list[int]:
        body = (await ask("GET", f"/system/logs?name=resize{query}")).body
        return [int(msgspec.json.decode(line)["text"][5:]) for line in body.splitlines()]

    assert await found("") == list(range(10))
    assert await found("&instance=1") == [1, 3, 5, 7, 9]
    assert await found("&instance=1&tail=2") == [7, 9]
    assert await found("&call_id=c3") == [3, 8]
    assert await found("&call_id=c3&instance=0") == [8]
    assert await found("&instance=3") == []
    assert await found("&tail=3") == [7, 8, 9]
    assert await found("&tail=-1") == list(range(10))
    assert await found("&tail=99") == list(range(10))
    assert await found("&tail=x&tail=2") == [8, 9]
    assert await found("&name=nobody&name=resize&tail=1") == [9]
    assert await found("&since=2099-01-01T00:00:00Z") == []
    assert await found("&since=2001-01-01T00:00:00Z&tail=1") == [9]


async def test_without_since_only_the_last_five_minutes(ask, book, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older ones are there for who asks for them; `since` itself is included."""
    now, label = time.time_ns(), "resize.openfaas-fn"
    for age in (3600, 301, 299, 0):
        monkeypatch.setattr(time, "time_ns", lambda age=age: now - age * 10**9)
        say(book, f"{age}", label=label)
    monkeypatch.setattr(time, "time_ns", lambda: now)

    async def found(query: str = "") -> list[str]:
        body = (await ask("GET", f"/system/logs?name=resize{query}")).body
        return [msgspec.json.decode(line)["text"] for line in body.splitlines()]

    assert await found() == ["299", "0"]
    assert await found("&since=" + quote(instant(now - 301 * 10**9))) == ["301", "299", "0"]
    assert await found("&since=" + quote(instant(now - 301 * 10**9 + 1))) == ["299", "0"]
    assert await found("&since=1970-01-01T00:00:00Z") == ["3600", "301", "299", "0"]


@pytest.mark.parametrize(
    "query", ["name=resize&tail=x", "name=resize&since=10m", "name=resize&tail=1&tail=", ""]
)
async def test_what_cannot_be_understood_is_422(ask, book, query: str) -> None:
    """In OpenFaaS' words; an empty parameter is none."""
    answer = await ask("GET", f"/system/logs?{query}")
    if query.endswith("tail="):
        assert answer.status == 200
        return
    assert answer.status == 422
    assert answer.body == b"could not parse the log request\n"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_function_that_never_was_is_404(ask, book) -> None:
    """One that was removed is not: its lines are there until they are too old."""
    assert (await ask("GET", "/system/logs?name=resize")).body == b""
    assert (await ask("GET", "/system/logs?name=remote&namespace=openfaas-fn")).status == 200
    answer = await ask("GET", "/system/logs?name=nobody")
    assert (answer.status, answer.body) == (404, b"function nobody.openfaas-fn not found\n")
    say(book, "last words", label="removed.dev")
    assert (await ask("GET", "/system/logs?name=removed&namespace=dev")).status == 200
    assert (await ask("GET", "/system/logs?name=removed")).status == 404


async def test_names_lead_nowhere_else(ask, book, tmp_path: Path) -> None:
    """Whatever is asked for, only the logbook is looked at."""
    (tmp_path / "secret.b").mkdir()
    for name in ("../secret", "..%2fsecret", "%00", "a%0ab", "x" * 3000):
        answer = await ask("GET", f"/system/logs?name={name}&namespace=b")
        assert answer.status == 404, name


async def test_other_methods_are_405(ask, book) -> None:
    """HEAD too, as everywhere."""
    for method in ("POST", "HEAD", "DELETE"):
        assert (await ask(method, "/system/logs?name=resize")).status == 405


async def test_logs_that_are_not_kept_are_501(ask, daemon, book) -> None:
    """Which OpenFaaS' gateway says of a provider without logs."""
    logs = msgspec.structs.replace(daemon.config.logs, enabled=False)
    daemon.config = msgspec.structs.replace(daemon.config, logs=logs)
    answer = await ask("GET", "/system/logs?name=resize")
    assert (answer.status, answer.body) == (501, b"logs are not kept: logs.enabled is false\n")


async def test_a_log_that_cannot_be_read_is_500(ask, book, tmp_path: Path) -> None:
    """Before the first byte, in OpenFaaS' words."""
    (tmp_path / "logs" / "odd.b").symlink_to("odd.b")
    answer = await ask("GET", "/system/logs?name=odd&namespace=b")
    assert (answer.status, answer.body) == (500, b"function log request failed\n")


@ASKS
async def test_follow_goes_on_where_the_old_lines_end(book, stream, socket: str) -> None:
    """Nothing is lost and nothing comes twice at the seam, while lines are written all the time."""
    label = "resize.openfaas-fn"
    say(book, *(f"{n}" for n in range(1000)), label=label)
    answer = await stream("name=resize&follow=true&tail=500", socket)
    for start in range(1000, 3000, 100):
        say(book, *(f"{n}" for n in range(start, start + 100)), label=label)
        await trio.sleep(0.001)
    with trio.fail_after(30):
        numbers = [int(text) for text in await answer.texts(1)]
        while numbers[-1] < 2999:
            numbers += [int(text) for text in await answer.texts(1)]
    assert 500 <= numbers[0] <= 2500
    assert numbers == list(range(numbers[0], 3000))


async def test_follow_answers_at_once(book, stream) -> None:
    """Its head comes though nothing was said yet; then each line as soon as it is there."""
    answer = await stream("name=resize&follow=1")
    with trio.fail_after(30):
        assert b"200" in (await answer.start()).partition(b"\r\n")[0]
        for number in range(5):
            say(book, f"{number}", label="resize.openfaas-fn")
            assert await answer.texts(1) == [f"{number}"]


async def test_follow_filters_too(book, stream) -> None:
    """By instance and call; by time it does not, or a clock that is set back would hide what comes."""
    answer = await stream("name=resize&follow=1&call_id=mine&since=2099-01-01T00:00:00Z")
    await answer.start()
    say(book, "no", label="resize.openfaas-fn", call_id="other")
    say(book, "yes", label="resize.openfaas-fn", call_id="mine")
    with trio.fail_after(30):
        assert await answer.texts(1) == ["yes"]


async def test_follow_ends_when_the_client_goes(ask, book, stream) -> None:
    """No task, no descriptor, no bell is left, also of one whose function says nothing more."""
    assert (await ask("GET", "/system/logs?name=resize")).status == 200
    before = fds()
    answers = [await stream("name=resize&follow=1") for _ in range(20)]
    with trio.fail_after(30):
        for answer in answers:
            await answer.start()
        await poll(lambda: book.followers == 20)
        tasks = trio.lowlevel.current_statistics().tasks_living
        for answer in answers:
            await answer.wire.aclose()
        await poll(lambda: not book.followers and fds() <= before)
    assert trio.lowlevel.current_statistics().tasks_living <= tasks - 20


async def test_only_so_many_follow(ask, book, stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused; others read on, and when one goes there is room."""
    monkeypatch.setattr(logs, "MOST", 2)
    answers = [await stream("name=resize&follow=1") for _ in range(2)]
    with trio.fail_after(30):
        await poll(lambda: book.followers == 2)
        answer = await ask("GET", "/system/logs?name=resize&follow=1")
        assert (answer.status, answer.body) == (503, b"2 follow logs already\n")
        assert (await ask("GET", "/system/logs?name=resize")).status == 200
        await answers[0].wire.aclose()
        await poll(lambda: book.followers == 1)
        assert b"200" in (await (await stream("name=resize&follow=1")).start())[:20]


async def test_follow_ends_when_the_daemon_stops(book, stream) -> None:
    """With the last line, and as a whole answer."""
    answer = await stream("name=resize&follow=1")
    await answer.start()
    say(book, "last words", label="resize.openfaas-fn")
    with trio.fail_after(30):
        assert await answer.texts(1) == ["last words"]
        book.end_follows()
        assert await answer.line() is None


async def test_a_slow_reader_holds_nothing_and_is_told_what_it_missed(daemon, served, tmp_path: Path) -> None:
    """While he does not read, lines are written and removed; he goes on with those that are left, and knows how many he lost."""
    (tmp_path / "small").mkdir()
    label, count = "resize.openfaas-fn", 60_000
    async with open_logbook(tmp_path / "small", Words(per_function=2 * MIB)) as book:
        daemon.logbook = book
        wire = await trio.open_unix_socket(served / "control.sock")
        await wire.send_all(
            b"GET /system/logs?name=resize&follow=1 HTTP/1.1\r\nHost: x\r\nX-Faasd-Py-Identity: reader;read\r\n\r\n"
        )
        answer = Stream(wire)
        await answer.start()
        with trio.fail_after(60):
            for start in range(0, count, 2000):
                say(book, *(f"{n} {'x' * 60}" for n in range(start, start + 2000)), label=label)
                await book.is_known(label)
            seen, missed = [], 0
            while not seen or seen[-1] < count - 1:
                (text,) = await answer.texts(1)
                if text.startswith("("):
                    missed += int(text[1:].split()[0])
                    assert text.endswith(" lines are missing: they were removed before they were read)")
                else:
                    seen.append(int(text.split()[0]))
        await wire.aclose()
    assert missed > 0
    assert seen == sorted(set(seen))
    assert len(seen) + missed == count


async def test_a_long_log_takes_little_memory(book, stream) -> None:
    """It is read piece by piece, as the client takes it."""
    label = "resize.openfaas-fn"
    for start in range(0, 100_000, 5_000):
        say(book, *(f"{n} {'x' * 150}" for n in range(start, start + 5_000)), label=label)
        await book.is_known(label)
    before = _peak()
    answer = await stream("name=resize")
    with trio.fail_after(60):
        for number in range(100_000):
            line = await answer.line()
            assert line is not None
            assert line["text"].startswith(f"{number} ")
        assert await answer.line() is None
    assert _peak() - before < 16 * MIB


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
