"""Listening sockets, bound and inherited; all real."""

import os
import socket
import stat
import subprocess
import sys
from contextlib import ExitStack

import pytest

from faasd_py.core.errors import BootError
from faasd_py.daemon import sockets
from faasd_py.daemon.sockets import inherit, name_of, open_listeners

FREE = "127.0.0.1:0"


def answers(door):
    """Whether a connection to the socket succeeds."""
    with socket.socket(door.family, socket.SOCK_STREAM) as client:
        client.settimeout(2)
        client.connect(door.getsockname())
        return True


def has_ipv6():
    """Whether ::1 can be bound here."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_tcp_listens_and_does_not_block():
    """HOST:PORT is a bound, listening, non-blocking socket that children do not inherit."""
    with open_listeners([FREE]) as [door]:
        assert answers(door)
        assert not door.getblocking()
        assert not door.get_inheritable()
        assert door.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert name_of(door) == f"127.0.0.1:{door.getsockname()[1]}"


def test_leaving_closes():
    """After the block nobody listens any more."""
    with open_listeners([FREE]) as [door]:
        where = door.getsockname()
    assert door.fileno() == -1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(where, 2)


def test_a_port_can_be_taken_again_at_once():
    """Connections in TIME_WAIT do not hold up a restart."""
    with open_listeners([FREE]) as [door]:
        port = door.getsockname()[1]
        client = socket.create_connection(door.getsockname(), 2)
        served, _ = door.accept()
        served.close()
        client.close()
    with open_listeners([f"127.0.0.1:{port}"]) as [door]:
        assert answers(door)


def test_a_taken_port_is_one_sentence():
    """The error begins with the address as config.toml has it, and what was bound before it is closed."""
    with open_listeners([FREE]) as [door]:
        taken = name_of(door)
        with (
            pytest.raises(BootError, match=rf"^{taken}: address already in use$"),
            open_listeners([FREE, taken]),
        ):
            pytest.fail("bound twice")


def test_several_addresses_in_order(tmp_path):
    """Each address gives its sockets, in the order of the list."""
    with open_listeners([f"unix:{tmp_path}/a", FREE]) as doors:
        assert [door.family for door in doors] == [socket.AF_UNIX, socket.AF_INET]
        assert all(answers(door) for door in doors)


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_ipv6_leaves_ipv4_alone():
    """[::]:PORT and 0.0.0.0:PORT may stand side by side."""
    with open_listeners(["[::1]:0"]) as [door]:
        assert name_of(door).startswith("[::1]:")
        assert door.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        with open_listeners([f"127.0.0.1:{door.getsockname()[1]}"]):
            pass


def test_a_name_listens_wherever_it_points():
    """A name like localhost may be one address or two; each is tried, and at least one must be had."""
    with open_listeners(["localhost:0"]) as doors:
        assert doors
        assert all(answers(door) for door in doors)


def test_of_several_places_those_that_exist_do():
    """An address that this box does not have is passed over if another one works, and is the error if none does."""
    absent = (socket.AF_INET, ("192.0.2.1", 0))
    doors = sockets._bind_all([absent, (socket.AF_INET, ("127.0.0.1", 0))])
    with ExitStack() as stack:
        assert [stack.enter_context(door).getsockname()[0] for door in doors] == ["127.0.0.1"]
    with pytest.raises(BootError, match=r"^192\.0\.2\.1:0: cannot assign"), open_listeners(["192.0.2.1:0"]):
        pytest.fail("bound")


def test_an_unknown_host_is_one_sentence():
    """A host that cannot be resolved names itself."""
    with pytest.raises(BootError, match=r"^nowhere\.invalid:80: \w"), open_listeners(["nowhere.invalid:80"]):
        pytest.fail("bound")


@pytest.mark.parametrize(
    "address",
    [
        "",
        "8080",
        ":8080",
        "127.0.0.1",
        "::1:80",
        "[::1]",
        "127.0.0.1:65536",
        "a b:1",
        "unix:",
        "127.0.0.1:x",
    ],
)
def test_addresses_that_mean_nothing(address):
    """The sentence says what was expected and what was got."""
    with pytest.raises(BootError, match=r"^listen: expected ") as caught, open_listeners([address]):
        pytest.fail("bound")
    assert address in str(caught.value)


def test_unix_socket_mode(tmp_path):
    """A unix socket answers, is for owner and group, and its file goes with it."""
    path = tmp_path / "door"
    with open_listeners([f"unix:{path}"]) as [door]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert answers(door)
        assert name_of(door) == f"unix:{path}"
    assert not path.exists()


def test_a_stale_unix_socket_is_taken_over(tmp_path):
    """A file on which nobody answers was left by a dead process."""
    path = tmp_path / "door"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    with open_listeners([f"unix:{path}"]) as [door]:
        assert answers(door)


def test_a_living_unix_socket_is_left_alone(tmp_path):
    """Somebody answers: that is an error, and the other one still answers afterwards."""
    path = tmp_path / "door"
    with open_listeners([f"unix:{path}"]) as [door]:
        with (
            pytest.raises(BootError, match=f"^unix:{path}: address already in use$"),
            open_listeners([f"unix:{path}"]),
        ):
            pytest.fail("bound twice")
        assert answers(door)


def test_a_busy_unix_socket_is_not_stale(tmp_path):
    """A full backlog means that somebody lives there."""
    path = tmp_path / "door"
    with socket.socket(socket.AF_UNIX) as busy, ExitStack() as stack:
        busy.bind(str(path))
        busy.listen(0)
        for _ in range(2):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            client.connect_ex(str(path))
        with pytest.raises(BootError, match="already in use"), open_listeners([f"unix:{path}"]):
            pytest.fail("bound twice")
        assert path.exists()


def test_a_file_in_the_way(tmp_path):
    """What is not a socket is never removed."""
    path = tmp_path / "door"
    path.write_text("precious")
    with pytest.raises(BootError, match="a file that is not a socket"), open_listeners([f"unix:{path}"]):
        pytest.fail("bound")
    assert path.read_text() == "precious"


def test_a_successors_file_is_not_removed(tmp_path):
    """A file that somebody else has put in the place of ours stays when we leave."""
    path = tmp_path / "door"
    with open_listeners([f"unix:{path}"]):
        path.unlink()
        path.write_text("the successor's")
    assert path.read_text() == "the successor's"


def test_a_unix_path_that_cannot_be():
    """A missing directory is one sentence that begins with the address."""
    with (
        pytest.raises(BootError, match=r"^unix:/nowhere/at/all: no such file"),
        open_listeners(["unix:/nowhere/at/all"]),
    ):
        pytest.fail("bound")


PASSED = """
import os, sys
from faasd_py.core.errors import BootError
from faasd_py.daemon.sockets import inherit, name_of, open_listeners
os.environ["LISTEN_PID"] = os.environ.get("AS_PID") or str(os.getpid())
try:
    doors = inherit(os.environ)
except BootError as error:
    sys.exit(f"error: {error}")
with open_listeners(["127.0.0.1:1"] if doors["gateway"] else [], doors["gateway"]) as gateway:
    for door in gateway:
        print("gateway", name_of(door), door.getblocking(), door.get_inheritable())
for door in doors["metrics"]:
    print("metrics", name_of(door), door.getblocking(), door.get_inheritable())
print("left", [key for key in os.environ if key.startswith("LISTEN_")])
"""


def activated(doors, names=None, **environ):
    """Run a process with the given sockets as descriptors 3, 4, … as systemd would; its output's lines."""
    count = len(doors)

    def place():
        moved = [os.dup2(door, 200 + index) for index, door in enumerate(numbers)]
        for index, fd in enumerate(moved):
            os.dup2(fd, 3 + index)
            os.set_inheritable(3 + index, True)

    numbers = [door.fileno() for door in doors]
    given = os.environ | {"LISTEN_FDS": str(count)} | environ
    if names is not None:
        given["LISTEN_FDNAMES"] = names
    command = [sys.executable, "-c", PASSED]
    done = subprocess.run(
        command,
        env=given,
        preexec_fn=place,
        close_fds=False,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return (done.stdout + done.stderr).splitlines()


def test_inherited_sockets_win_and_are_told_apart():
    """The gateway's sockets replace those of the configuration; `metrics` go to the other door; no variable is left."""
    with open_listeners([FREE, FREE]) as [one, two]:
        assert activated([one, two], "gateway:metrics") == [
            f"gateway {name_of(one)} False False",
            f"metrics {name_of(two)} False False",
            "left []",
        ]


@pytest.mark.parametrize("names", [None, "faasd-py.socket", "unknown"])
def test_a_socket_without_a_name_is_the_gateways(names):
    """A socket unit without FileDescriptorName= serves the gateway."""
    with open_listeners([FREE]) as [door]:
        assert activated([door], names)[0] == f"gateway {name_of(door)} False False"


def test_a_unix_socket_is_inherited(tmp_path):
    """A unix socket that systemd made is used, and its file is systemd's to remove."""
    path = tmp_path / "door"
    with open_listeners([f"unix:{path}"]) as [door]:
        assert activated([door], "gateway")[0] == f"gateway unix:{path} False False"
        assert path.exists()


def test_a_misspelt_name_is_refused():
    """A name that means nothing here is an error, so that no door opens by mistake."""
    with open_listeners([FREE]) as [door]:
        assert activated([door], "metrix") == [
            'error: a socket was passed as "metrix": FileDescriptorName= must be one of gateway, metrics'
        ]


def test_sockets_of_another_process_are_not_ours():
    """LISTEN_PID names somebody else: nothing is inherited, and nothing is passed on either."""
    with open_listeners([FREE]) as [door]:
        assert activated([door], "gateway", AS_PID="1") == ["left []"]


def test_what_does_not_listen_is_refused():
    """A connected or unbound socket cannot be a door."""
    with socket.socket() as idle, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        for wrong in (idle, datagrams):
            assert activated([wrong], "gateway") == [
                "error: the passed file descriptor 3 (gateway) is not a listening stream socket"
            ]


def test_what_is_no_socket_is_refused(tmp_path):
    """A file in a socket's place is one sentence."""
    with (tmp_path / "file").open("w") as file:
        [line] = activated([file], "gateway")
    assert line == "error: the passed file descriptor 3 (gateway): socket operation on non-socket"


@pytest.mark.parametrize(
    "environ", [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "x"}, {"LISTEN_PID": "zz", "LISTEN_FDS": "1"}]
)
def test_without_activation_both_doors_are_empty(environ):
    """Nothing passed, or nonsense: the configuration decides."""
    assert inherit(dict(environ), pid=1) == {"gateway": [], "metrics": []}
