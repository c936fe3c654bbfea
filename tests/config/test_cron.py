"""When schedules come due: every way to write them, the days when clocks are set, and what is refused."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import inf
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faasd_py.config import parse
from faasd_py.config.cron import Schedule, check, expressions, local_zone
from faasd_py.core.errors import ConfigError

VIENNA = ZoneInfo("Europe/Vienna")


def at(text: str, zone=UTC) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def slots(expression: str, start: str, number: int, zone=UTC) -> list[str]:
    """The next slots after a moment, as the zone's clock shows them, with the offset when there is one."""
    schedule, moment, found = Schedule((expression,), zone), at(start, zone), []
    for _ in range(number):
        moment = schedule.after(moment)
        shown = datetime.fromtimestamp(moment, zone)
        found.append(shown.strftime("%m-%d %H:%M" if zone is UTC else "%m-%d %H:%M %z"))
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("* * * * *", ["11-24 10:18", "11-24 10:19"]),
        ("*/15 * * * *", ["11-24 10:30", "11-24 10:45"]),
        ("0 6 * * MON-FRI", ["11-25 06:00", "11-26 06:00"]),
        ("0 6 * * 0", ["11-29 06:00", "12-06 06:00"]),
        ("0 6 * * 7", ["11-29 06:00", "12-06 06:00"]),
        ("0 0 13 * FRI", ["11-27 00:00", "12-04 00:00"]),
        ("0 0 L * *", ["11-30 00:00", "12-31 00:00"]),
        ("0 0 * * 5L", ["11-27 00:00", "12-25 00:00"]),
        ("0 0 ? * MON#1", ["12-07 00:00", "01-04 00:00"]),
        ("5,10 12 1 jan *", ["01-01 12:05", "01-01 12:10"]),
        ("@hourly", ["11-24 11:00", "11-24 12:00"]),
        ("@daily", ["11-25 00:00", "11-26 00:00"]),
        ("@midnight", ["11-25 00:00", "11-26 00:00"]),
        ("@weekly", ["11-29 00:00", "12-06 00:00"]),
        ("@monthly", ["12-01 00:00", "01-01 00:00"]),
        ("@yearly", ["01-01 00:00", "01-01 00:00"]),
        ("@annually", ["01-01 00:00", "01-01 00:00"]),
        ("@every 7m", ["11-24 10:19", "11-24 10:26"]),
        ("@every 1h30m", ["11-24 10:30", "11-24 12:00"]),
        ("  CRON_TZ=America/New_York   0 9 * * * ", ["11-24 14:00", "11-25 14:00"]),
        ("TZ=Asia/Kolkata 0 9 * * *", ["11-25 03:30", "11-26 03:30"]),
        ("CRON_TZ=UTC @hourly", ["11-24 11:00", "11-24 12:00"]),
    ],
)
def test_what_can_be_written(expression, expected):
    """As the manual has it."""
    assert slots(expression, "2026-11-24T10:17:33", 2) == expected


def test_leap_days():
    """The 29th of February comes when there is one: not in 2100."""
    schedule = Schedule(("0 0 29 2 *",))
    found, moment = [], at("2091-01-01T00:00:00")
    for _ in range(3):
        moment = schedule.after(moment)
        found.append(datetime.fromtimestamp(moment, UTC).year)
    assert found == [2092, 2096, 2104]


def test_a_time_of_day_when_clocks_are_set_forward():
    """In Vienna there is no 02:30 on 2027-03-28: it is due at 03:00, once."""
    assert slots("30 2 * * *", "2027-03-27T01:00:00", 3, VIENNA) == [
        "03-27 02:30 +0100",
        "03-28 03:00 +0200",
        "03-29 02:30 +0200",
    ]


def test_a_time_of_day_when_clocks_are_set_back():
    """On 2027-10-31 there are two 02:30: it is due at the first one only, also for who looks between the two."""
    assert slots("30 2 * * *", "2027-10-30T12:00:00", 2, VIENNA) == ["10-31 02:30 +0200", "11-01 02:30 +0100"]
    schedule = Schedule(("30 2 * * *",), VIENNA)
    between = datetime(2027, 10, 31, 2, 15, tzinfo=VIENNA, fold=1).timestamp()
    shown = datetime.fromtimestamp(schedule.after(between), VIENNA)
    assert shown.strftime("%d %H:%M") == "01 02:30"
    shown = datetime.fromtimestamp(schedule.until(between), VIENNA)
    assert (shown.strftime("%d %H:%M"), shown.fold) == ("31 02:30", 0)


@pytest.mark.parametrize(("day", "hours"), [("2027-03-28", 23), ("2027-10-31", 25)])
@pytest.mark.parametrize("expression", ["0 * * * *", "@hourly"])
def test_what_is_hourly_goes_on_evenly(day, hours, expression):
    """A day of 23 hours has 23 slots, one of 25 has 25, an hour from one to the next."""
    schedule, moment, found = Schedule((expression,), VIENNA), at(f"{day}T00:00:00", VIENNA) - 1, []
    end = datetime.fromisoformat(day).replace(tzinfo=VIENNA) + timedelta(days=1)
    while (moment := schedule.after(moment)) < end.timestamp():
        found.append(moment)
    assert len(found) == hours
    assert {later - one for one, later in pairwise(found)} == {3600.0}


def test_intervals_do_not_know_of_time_zones():
    """@every counts seconds since 1970, whatever the clocks on the walls do."""
    schedule = Schedule(("@every 2h",), VIENNA)
    moment = at("2027-03-27T23:00:00")
    found = [moment := schedule.after(moment) for _ in range(20)]
    assert all(one % 7200 == 0 for one in found)


def test_several_at_once():
    """The union: a moment that two of them name is one slot."""
    schedule = Schedule(("0 6 * * *", "@every 6h"))
    moment, found = at("2027-01-01T05:00:00"), []
    for _ in range(3):
        moment = schedule.after(moment)
        found.append(datetime.fromtimestamp(moment, UTC).hour)
    assert found == [6, 12, 18]
    assert schedule.until(at("2027-01-01T17:00:00")) == at("2027-01-01T12:00:00")
    assert Schedule(()).after(0) == inf
    assert Schedule(()).until(0) == -inf


FIELD = st.sampled_from(["*", "*/7", "0", "30", "5,59", "10-20/5"])
HOUR = st.sampled_from(["*", "*/5", "2", "3", "0,23", "1-4"])
DAY = st.sampled_from(["*", "1", "28-31", "31", "L"])
MONTH = st.sampled_from(["*", "3,10", "2", "*/3"])
WEEK = st.sampled_from(["*", "SUN", "1-5", "0#2"])
ZONES = st.sampled_from(["UTC", "Europe/Vienna", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"])
MOMENTS = st.one_of(
    st.floats(at("2024-01-01"), at("2031-01-01")),
    st.floats(at("2027-03-27T23:00"), at("2027-03-28T05:00")),
    st.floats(at("2027-10-30T22:00"), at("2027-10-31T04:00")),
)


@settings(max_examples=150, deadline=None)
@given(minute=FIELD, hour=HOUR, day=DAY, month=MONTH, week=WEEK, zone=ZONES, moment=MOMENTS)
def test_after_and_until_agree(minute, hour, day, month, week, zone, moment):
    """Slots only go forward; the last one until now is the one that comes after just before it; nothing lies between."""
    expression = f"{minute} {hour} {day} {month} {week}"
    try:
        schedule = Schedule((expression,), ZoneInfo(zone))
    except ValueError:
        return  # the 31st of February
    later, before = schedule.after(moment), schedule.until(moment)
    assert before <= moment < later
    if before > -inf:
        assert schedule.after(before - 1) == before, "it is a slot"
        assert schedule.after(before) == later, "there is none between"
    assert schedule.until(later) == later
    assert schedule.after(later) > later


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("", 'expected five fields like "*/5 * * * *", "@hourly" or "@every 5m", got \'\''),
        ("* * * *", "expected five fields"),
        ("0 * * * * *", "expected five fields"),
        ("@reboot", "expected five fields"),
        ("60 * * * *", "bad minute: expected five fields"),
        ("* 24 * * *", "bad hour"),
        ("* * 0 * *", "bad day-of-month"),
        ("* * * 13 *", "bad month"),
        ("* * * * 8", "bad day-of-week"),
        ("*/0 * * * *", "bad minute"),
        ("5-1 * * * *", "bad minute"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("* * */20 * 1L", "expected a time that comes"),
        ("@every", 'expected whole seconds like "@every 90s"'),
        ("@every 0s", "expected whole seconds"),
        ("@every 500ms", "expected whole seconds"),
        ("@every -5m", "expected whole seconds"),
        ("@every5m", "expected five fields"),
        ("CRON_TZ=Mars/Olympus * * * * *", "expected a time zone that this machine knows"),
        ("CRON_TZ= * * * * *", "expected a time zone that this machine knows"),
        ("CRON_TZ=../../../etc/passwd * * * * *", "expected a time zone"),
        ("CRON_TZ=Europe * * * * *", "expected a time zone"),
        ("CRON_TZ=UTC", "expected five fields"),
        ("\N{ARABIC-INDIC DIGIT FIVE} * * * *", "bad minute"),
        ("* " * 300, "expected at most 500 characters"),
    ],
)
def test_what_is_refused(expression, sentence):
    """One sentence says what was expected."""
    with pytest.raises(ValueError, match="expected") as caught:
        check(expression)
    assert sentence in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text):
    """And nothing else happens to it."""
    try:
        check(text)
    except ValueError:
        return
    assert Schedule((text,)).after(1e9) > 1e9


def test_whose_expressions_count():
    """The setting's and those of the annotations, when the topic is the clock's; each once."""
    assert expressions("0 6 * * *; @hourly", {}) == ("0 6 * * *", "@hourly")
    assert expressions(["0 6 * * *", "@hourly;", ""], {}) == ("0 6 * * *", "@hourly")
    both = {"topic": "uploads, cron-function", "schedule": "@daily; @hourly"}
    assert expressions(["@hourly"], both) == ("@hourly", "@daily")
    assert expressions([], {"topic": "uploads", "schedule": "@daily"}) == ()
    assert expressions([], {"schedule": "@daily"}) == ()
    assert expressions([], {"topic": "cron-function"}) == ()


def test_the_machines_time_zone(monkeypatch):
    """$TZ, with or without its colon; what cannot be read is UTC."""
    assert local_zone({"TZ": "Europe/Vienna"}) == VIENNA
    assert local_zone({"TZ": ":Europe/Vienna"}) == VIENNA
    assert local_zone({"TZ": "no/where"}) is UTC
    assert local_zone({}) is not None


def wrong(*lines: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse("[functions.x]\ncommand = ['cat']\n" + "\n".join(lines), "c")
    return str(caught.value).removeprefix("c: functions.x")


def test_schedules_in_the_file():
    """A string or a list; each expression is checked, and the place is told."""
    assert parse("[functions.x]\ncommand=['a']\nschedule='@hourly'", "c").functions["x"].schedule == "@hourly"
    parse("[functions.x]\nurl='http://a'\nschedule=['@hourly', '@every 90s']\ncatch_up='last'", "c")
    assert wrong("schedule = '@often'").startswith(".schedule: expected five fields")
    assert wrong("schedule = ['@hourly', '61 * * * *']").startswith(".schedule: bad minute: ")
    assert wrong("schedule = 5") == ".schedule: expected a string or an array, got 5"
    assert wrong("catch_up = 'last'").startswith(".catch_up: there is no schedule to catch up with")
    assert wrong("schedule='@hourly'", "catch_up = 'all'") == (
        '.catch_up: expected "none" or "last", got "all"'
    )
    annotations = "annotations = {topic = 'cron-function', schedule = 'every day'}"
    assert wrong(annotations).startswith(".annotations.schedule: expected five fields")
    parse("[functions.x]\ncommand=['a']\nannotations = {topic = 'other', schedule = 'every day'}", "c")
