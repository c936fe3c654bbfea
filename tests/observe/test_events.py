"""Events: told to everybody, broken by nobody."""

import logging

import pytest

from faasd_py.observe.events import Events


def test_every_observer_is_told():
    """In the order they subscribed: the event's name, the time, and the facts."""
    events, seen = Events(), []
    events.subscribe(lambda event: seen.append(("first", event)), "first")
    events.subscribe(lambda event: seen.append(("second", event)), "second")
    events.emit("call.done", call_id="7", status=200)
    assert [who for who, _ in seen] == ["first", "second"]
    event = seen[0][1]
    assert event["event"] == "call.done"
    assert event["call_id"] == "7"
    assert event["status"] == 200
    assert event["time"] > 1_700_000_000


def test_nobody_listens():
    """Emitting into an empty room does nothing, and whoever has facts to put together can know before."""
    events = Events()
    events.emit("call.done")
    assert not events.heard
    for name in ("printer", "keeper"):
        events.subscribe(print, name)
    events.unsubscribe("printer")
    assert events.heard
    events.unsubscribe("keeper")
    assert not events.heard


def test_an_observer_that_raises_is_logged_and_the_others_are_told(caplog):
    """A guest's error is the guest's: the log names it, and whoever emitted does not notice."""

    def broken(event):
        raise RuntimeError("out of ink")

    events, seen = Events(), []
    events.subscribe(broken, "printer")
    events.subscribe(seen.append, "keeper")
    with caplog.at_level(logging.WARNING, "faasd_py.events"):
        events.emit("call.done")
    assert len(seen) == 1
    assert "observer printer raised on event call.done" in caplog.text
    assert "out of ink" in caplog.text


def test_a_broken_observer_does_not_fill_the_log(caplog):
    """A hundred failures are seven lines (the 1st, 2nd, 4th, …, 64th), and the count is kept."""
    events = Events()
    events.subscribe(lambda event: 1 / 0, "printer")
    with caplog.at_level(logging.WARNING, "faasd_py.events"):
        for _ in range(100):
            events.emit("tick")
    assert len(caplog.records) == 7
    assert events.failures == {"printer": 100}


def test_a_name_is_taken_once():
    """Two observers cannot have one name, else the log would blame the wrong one."""
    events = Events()
    events.subscribe(print, "printer")
    with pytest.raises(ValueError, match="'printer' is subscribed already"):
        events.subscribe(print, "printer")
