"""The log: one line a record, text or JSON, for people or the journal, without secrets."""

import json
import logging
import os
import re
import time
from types import SimpleNamespace

import pytest

from faasd_py.config import LogSettings
from faasd_py.observe import log
from faasd_py.observe.functionlog import FunctionLogger


class Written:
    """What the log wrote to a file; `lines` waits until all is written."""

    def __init__(self, path):
        self.path = path
        self.stream = path.open("w")

    def setup(self, **words):
        log.setup(LogSettings(**words), self.stream)
        return self

    @property
    def lines(self):
        for handler in logging.getLogger().handlers:
            handler.flush()
        return self.path.read_text().splitlines()


@pytest.fixture
def written(tmp_path):
    """A log in a file; afterwards logging is as it was."""
    root, ours = logging.getLogger(), logging.getLogger("faasd_py")
    levels = root.level, ours.level
    made = Written(tmp_path / "log")
    yield made
    for handler in [handler for handler in root.handlers if isinstance(handler, log.LineHandler)]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    made.stream.close()


def fail(text):
    raise RuntimeError(text)


QUEUE = logging.getLogger("faasd_py.queue")


def test_a_line_of_text(written):
    """Time in UTC to the millisecond, level, room, sentence, facts."""
    written.setup()
    QUEUE.info("%d calls wait", 3, extra={"facts": {"call_id": "abc"}})
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO queue: 3 calls wait call_id=abc", written.lines[0]
    )


def test_a_line_of_json(written):
    """One object with the same content, facts beside the message."""
    written.setup(format="json")
    QUEUE.warning("%d calls wait", 3, extra={"facts": {"call_id": "abc", "n": 1}})
    told = json.loads(written.lines[0])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told.pop("time"))
    assert told == {"level": "warning", "room": "queue", "message": "3 calls wait", "call_id": "abc", "n": 1}


@pytest.mark.parametrize(("level", "seen"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_level(written, level, seen):
    """`[log] level` is the lowest that is written."""
    written.setup(level=level)
    for say in (QUEUE.debug, QUEUE.info, QUEUE.warning, QUEUE.error):
        say("x")
    assert len(written.lines) == seen


def test_other_peoples_loggers_are_heard_from_warning_on(written):
    """Libraries do not chatter into the daemon's log, but their warnings are seen."""
    written.setup(level="debug")
    other = logging.getLogger("hypercorn.error")
    other.info("chatter")
    other.warning("trouble")
    assert len(written.lines) == 1
    assert written.lines[0].endswith("WARNING hypercorn.error: trouble")


def test_a_reload_goes_on_with_the_same_thread(written, tmp_path):
    """Nothing has to be waited for; another stream gets another one."""
    written.setup()
    first = logging.getLogger().handlers[-1]
    written.setup(level="error")
    assert logging.getLogger().handlers[-1] is first
    with (tmp_path / "other").open("w") as other:
        log.setup(LogSettings(), other)
        assert logging.getLogger().handlers[-1] is not first
        assert not first.lines._thread.is_alive()


def test_setup_again_replaces(written):
    """A reload changes level and format without doubling lines."""
    written.setup()
    written.setup(format="json", level="error")
    QUEUE.warning("unseen")
    QUEUE.error("seen")
    assert [json.loads(line)["message"] for line in written.lines] == ["seen"]


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Basic c2VjcmV0",
        "authorization:Bearer s3cr3t",
        "{'Authorization': 'Basic s3cr3t', 'Host': 'x'}",
        '{"cookie": "session=s3cr3t"}',
        "Cookie: a=s3cr3t; b=s3cr3t",
        "Set-Cookie: id=s3cr3t; HttpOnly",
        "(b'Proxy-Authorization', b'Basic s3cr3t')",
        "https://user:s3cr3t@example.org/hook",
        "postgres://me:s3cr3t@db/x failed",
    ],
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_are_hidden(written, text, form):
    """The values of Authorization and Cookie fields and passwords in URLs are not written, however they are quoted."""
    written.setup(format=form)
    QUEUE.error("request was %s", text)
    QUEUE.error("request was", extra={"facts": {"header": text}})
    whole = "\n".join(written.lines)
    assert "s3cr3t" not in whole
    assert "c2VjcmV0" not in whole
    assert whole.count("[hidden]") >= 2


def test_secret_facts_are_hidden(written):
    """A fact that is called like a credential is hidden whatever it holds."""
    written.setup()
    QUEUE.info(
        "x", extra={"facts": {"authorization": "s3cr3t", "Set_Cookie": b"s3cr3t", "host": b"example.org"}}
    )
    assert written.lines[0].endswith("x authorization=[hidden] Set_Cookie=[hidden] host=example.org")


def test_secrets_in_tracebacks_are_hidden(written):
    """An exception's text is cleaned like any other."""
    written.setup()
    try:
        fail("cannot reach https://user:s3cr3t@example.org")
    except RuntimeError:
        QUEUE.exception("failed")
    whole = "\n".join(written.lines)
    assert "s3cr3t" not in whole
    assert "RuntimeError: cannot reach https://[hidden]@example.org" in whole


@pytest.mark.parametrize(
    "text",
    [
        "a." * 50_000,
        "a" * 100_000,
        "://" * 30_000,
        "authorization " * 7000,
        "cookie:" * 15_000,
        "://a:" * 20_000,
        " " * 100_000,
    ],
    ids=lambda text: text[:8],
)
def test_long_lines_do_not_take_long(written, text):
    """Whatever a function writes, looking for secrets in it stays far below what would be noticed."""
    written.setup()
    before = time.process_time()
    FunctionLogger("a.b").line(text)
    assert time.process_time() - before < 0.2
    assert len(written.lines) == 1


def test_words_that_only_look_like_secrets_stay(written):
    """Prose about authorization is not mangled."""
    written.setup()
    QUEUE.info("no authorization was given by 10.0.0.1")
    assert written.lines[0].endswith("no authorization was given by 10.0.0.1")


def test_a_message_cannot_forge_lines(written):
    """Line ends and terminal escapes from outside are written escaped."""
    written.setup()
    QUEUE.info("name %s", "a\n2026-01-01T00:00:00.000Z ERROR queue: forged\x1b[31m")
    QUEUE.info("x", extra={"facts": {"name": "a\r\nb"}})
    assert len(written.lines) == 2
    assert r"a\n2026" in written.lines[0]
    assert r"\x1b[31m" in written.lines[0]
    assert r"name=a\r\nb" in written.lines[1]


def test_undecodable_text_does_not_break_the_log(written, monkeypatch):
    """A lone surrogate (a file name that is not UTF-8) is written escaped."""
    written.setup()
    # what pytest itself captures goes into a report that another process must be able to read
    root = logging.getLogger()
    ours = [handler for handler in root.handlers if isinstance(handler, log.LineHandler)]
    monkeypatch.setattr(root, "handlers", ours)
    QUEUE.info("file %s", os.fsdecode(b"\xff"))
    assert r"file \udcff" in written.lines[0]


def test_a_record_that_cannot_be_formatted_raises_nothing(written, monkeypatch):
    """A wrong format string is the log's trouble, never the caller's."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    written.setup()
    QUEUE.info("%d", "not a number")
    QUEUE.info("after")
    assert len(written.lines) == 1


@pytest.mark.parametrize(
    ("level", "mark"), [("error", "<3>"), ("warning", "<4>"), ("info", "<6>"), ("debug", "<7>")]
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_the_journal_gets_priorities(written, monkeypatch, level, mark, form):
    """When stderr is the journal's own stream, lines begin with sd-daemon(3) priorities."""
    status = os.fstat(written.stream.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    written.setup(level="debug", format=form)
    getattr(QUEUE, level)("x")
    assert written.lines[0].startswith(mark)
    assert form == "json" or written.lines[0] == f"{mark}{level.upper()} queue: x"


def test_every_line_of_a_traceback_has_its_priority(written, monkeypatch):
    """Else the journal would file them as ordinary lines."""
    status = os.fstat(written.stream.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    written.setup()
    try:
        fail("boo")
    except RuntimeError:
        QUEUE.exception("failed")
    assert len(written.lines) > 2
    assert all(line.startswith("<3>") for line in written.lines)


@pytest.mark.parametrize("stream", ["", "1:2", "nonsense", "x:y"])
def test_a_journal_elsewhere_is_not_ours(written, monkeypatch, stream):
    """The variable is inherited by everybody below; only the very same stream counts (systemd.exec(5))."""
    monkeypatch.setenv("JOURNAL_STREAM", stream)
    written.setup()
    QUEUE.info("x")
    assert written.lines[0].endswith("Z INFO queue: x")


def test_a_functions_line(written):
    """A function's own output names the function, its instance and its call; empty facts are left out."""
    written.setup(format="json")
    FunctionLogger("resize.openfaas-fn").line("done 100%", call_id="c1", instance="2")
    FunctionLogger("resize.openfaas-fn").line("more", stream="stdout")
    first, second = (json.loads(line) for line in written.lines)
    assert first["message"] == "done 100%"
    assert (first["function"], first["stream"], first["instance"], first["call_id"]) == (
        "resize.openfaas-fn",
        "stderr",
        "2",
        "c1",
    )
    assert second["stream"] == "stdout"
    assert "call_id" not in second


def test_functions_are_silent_above_info(written):
    """With level = warning, functions' lines are not written."""
    written.setup(level="warning")
    FunctionLogger("a.b").line("x")
    assert written.lines == []


def test_any_object_with_level_and_format_will_do(written):
    """The room knows nothing of the configuration."""
    log.setup(SimpleNamespace(level="info", format="text"), written.stream)
    QUEUE.info("x")
    assert len(written.lines) == 1
