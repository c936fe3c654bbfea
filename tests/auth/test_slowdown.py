"""What a wrong guess costs."""

import pytest

from faasd_py.auth.slowdown import COUNTED, FORGIVEN, FREE, LONGEST, MOST, Slowdown, address_of


def test_it_grows_to_a_bound():
    """The first are free, then each waits twice as long as the one before."""
    slow = Slowdown()
    waits = [slow.fail(b"10.0.0.1:5000", 0.0)[1] for _ in range(FREE + 8)]
    assert waits[:FREE] == [0.0] * FREE
    assert waits[FREE:] == [0.125, 0.25, 0.5, 1.0, LONGEST, LONGEST, LONGEST, LONGEST]


def test_failures_are_counted():
    """Up to a number."""
    slow = Slowdown()
    counts = [slow.fail(b"10.0.0.1:5000", 0.0)[0] for _ in range(COUNTED + 5)]
    assert counts == [*range(1, COUNTED + 1), *[COUNTED] * 5]


def test_time_forgives():
    """One failure for each FORGIVEN, and all of them in the end."""
    slow = Slowdown()
    for _ in range(FREE + 3):
        slow.fail(b"10.0.0.1:5000", 0.0)
    assert slow.fail(b"10.0.0.1:5000", 2 * FORGIVEN)[0] == FREE + 2
    assert slow.fail(b"10.0.0.1:5000", 1e6) == (1, 0.0)


def test_others_are_not_held_up():
    """Another port is the same address; another address is somebody else."""
    slow = Slowdown()
    for port in range(20):
        slow.fail(b"10.0.0.1:%d" % port, 0.0)
    assert slow.fail(b"10.0.0.1:999", 0.0)[1] == LONGEST
    assert slow.fail(b"10.0.0.2:999", 0.0)[1] == 0.0


def test_ten_thousand_addresses_stay_bounded():
    """The one that failed least lately is forgotten first; whoever goes on failing is not."""
    slow = Slowdown()
    for number in range(10_000):
        slow.fail(b"10.%d.%d.%d:1" % (number >> 16, number >> 8 & 255, number & 255), float(number) / 1e6)
        slow.fail(b"192.168.0.1:1", float(number) / 1e6)
    assert len(slow) == MOST
    assert slow.fail(b"192.168.0.1:1", 0.01)[1] == LONGEST
    assert slow.fail(b"10.0.0.0:1", 0.01)[0] == 1


def test_a_clock_that_does_not_move_is_no_trouble():
    """Nor one that goes back, though trio's does not."""
    slow = Slowdown()
    slow.fail(b"a:1", 5.0)
    assert slow.fail(b"a:1", 5.0)[0] == 2


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (b"10.1.2.3:80", b"10.1.2.3"),
        (b"unix", b"unix"),
        (b"[::1]:80", b"::/64"),
        (b"[2001:db8:1:2:3:4:5:6]:80", b"2001:db8:1:2::/64"),
        (b"[2001:db8:1:2::9]:81", b"2001:db8:1:2::/64"),
        (b"[::ffff:10.1.2.3]:80", b"10.1.2.3"),
        (b"[fe80::1%eth0]:80", b"fe80::/64"),
        (b"[odd]:80", b"[odd]"),
    ],
)
def test_addresses(peer, address):
    """Of IPv6 the network that one household has; an IPv4 address is one however it comes."""
    assert address_of(peer) == address
