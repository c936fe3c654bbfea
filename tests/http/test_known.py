"""What is known of an answer's header lines."""

from __future__ import annotations

from faasd_py.http.known import LONGEST, MOST, Knowledge, Known

NAMES = (b"x-call-id", b"x-start-time")
EXTRA = b"X-Call-Id: 7\r\nX-Start-Time: 8\r\n"


def test_date_and_length() -> None:
    """A Date and a Content-Length are found whatever their case, and only as names of fields."""
    assert Known(b"dAtE: today\r\nCONTENT-LENGTH:  12\r\n").dated
    assert Known(b"dAtE: today\r\nCONTENT-LENGTH:  12\r\n").length == 12
    other = Known(b"X-Date: date: today\r\nX-Content-Length: 5\r\nX: content-length: 6\r\n")
    assert not other.dated
    assert other.length is None


def test_nothing() -> None:
    """An answer without lines has neither."""
    known = Known(b"")
    assert (known.dated, known.length) == (False, None)
    assert known.missing(EXTRA, NAMES) == EXTRA
    assert known.missing(b"", ()) == b""


def test_extra_lines_are_left_out_where_the_answer_has_them() -> None:
    """Names are compared without regard to case, told or looked for, the first time and again."""
    known = Known(b"Content-Type: a\r\nx-cALL-id: own\r\n")
    for _ in range(2):
        assert known.missing(EXTRA, NAMES) == b"X-Start-Time: 8\r\n"
        assert known.missing(EXTRA, ()) == b"X-Start-Time: 8\r\n"


def test_extra_lines_that_are_not_there() -> None:
    """All of them are missing, told or looked for, the first time and again."""
    known = Known(b"Content-Type: a\r\nx-not-call-id: own\r\nX: x-start-time: 1\r\n")
    for _ in range(2):
        assert known.missing(EXTRA, NAMES) == EXTRA
        assert known.missing(EXTRA, ()) == EXTRA


def test_other_names_are_looked_for_anew() -> None:
    """What is known of some names says nothing of others."""
    known = Known(b"X-Other: 1\r\n")
    assert known.missing(EXTRA, NAMES) == EXTRA
    assert known.missing(b"X-Other: 2\r\n", (b"x-other",)) == b""
    assert known.missing(EXTRA, NAMES) == EXTRA


def test_a_block_is_looked_at_once() -> None:
    """The same bytes give the same object."""
    knowledge = Knowledge()
    assert knowledge.of(b"A: 1\r\n") is knowledge.of(b"A: " + b"1\r\n")
    assert knowledge.of(b"A: 1\r\n") is not knowledge.of(b"A: 2\r\n")


def test_few_blocks_are_remembered() -> None:
    """However many different ones come, MOST are kept; long ones never are."""
    knowledge = Knowledge()
    for number in range(10 * MOST):
        assert knowledge.of(b"Content-Length: %d\r\n" % number).length == number
    assert len(knowledge._known) <= MOST
    long = b"A: " + b"x" * LONGEST + b"\r\n"
    assert knowledge.of(long) is not knowledge.of(long)
