"""`invoke`: what is sent, what is printed, what is said when it fails."""

import http.client
import io
import json
import socket
import subprocess
import sys
import threading

import pytest

ACCEPTED = (202, [("X-Call-Id", "c-1"), ("X-Queue-Id", "q-1"), ("Content-Length", "0")], [])


@pytest.fixture
def invoke(cli, gateway):
    """`faasd-py invoke …` at the gateway."""
    return lambda *words: cli("invoke", *words, "--gateway", gateway.url)


def test_a_call_and_its_answer(invoke, gateway):
    """POST to /function/NAME with the text as body; the answer is on stdout as it came."""
    said = invoke("resize", "-d", "hällo")
    assert (said.status, said.out, said.err) == (0, "done", "")
    method, path, headers, body = gateway.asked[0]
    assert (method, path, body) == ("POST", "/function/resize", "hällo".encode())
    assert headers["Content-Length"] == "6"
    assert "Accept-Encoding" not in headers


@pytest.mark.parametrize(
    ("words", "method", "path"),
    [
        (["resize"], "POST", "/function/resize"),
        (["resize.team"], "POST", "/function/resize.team"),
        (["resize/a/b"], "POST", "/function/resize/a/b"),
        (["resize", "--query", "a=b c", "--query", "d=e&f"], "POST", "/function/resize?a=b%20c&d=e&f"),
        (["resize/x?y=1", "--query", "z=é"], "POST", "/function/resize/x?y=1&z=%C3%A9"),
        (["resize/a b#c%20", "-X", "put"], "PUT", "/function/resize/a%20b%23c%20"),
        (["resize", "--method", "GET"], "GET", "/function/resize"),
        (["resize/", "--async"], "POST", "/async-function/resize/"),
    ],
)
def test_targets(invoke, gateway, words, method, path):
    """Name, path and query become one target; what cannot stand in it is percent-encoded."""
    gateway.answers = ACCEPTED if "--async" in words else gateway.answers
    assert invoke(*words).status == 0
    assert gateway.asked[0][:2] == (method, path)


def test_headers(invoke, gateway):
    """As given, repeated, with a Host of one's own."""
    invoke(
        "resize",
        "-H",
        "X-A: b",
        "-H",
        "X-C:d: e",
        "--header",
        "Host: example.org",
        "-H",
        "Content-Type: text/plain",
    )
    headers = gateway.asked[0][2]
    assert headers["X-A"] == "b"
    assert headers["X-C"] == "d: e"
    assert headers["Host"] == "example.org"
    assert headers["Content-Type"] == "text/plain"


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--callback", "http://x/"], "X-Callback-Url", "http://x/"),
        (["--failure-callback", "http://x/"], "X-Callback-Failure-Url", "http://x/"),
        (["--delay", "10s"], "X-Delay", "10s"),
        (["--not-before", "2026-11-24T10:00:00Z"], "X-Not-Before", "2026-11-24T10:00:00Z"),
        (["--max-age", "1h"], "X-Max-Age", "1h"),
        (["--max-attempts", "3"], "X-Max-Attempts", "3"),
        (["--priority", "-5"], "X-Priority", "-5"),
        (["--timeout", "5s"], "X-Timeout", "5s"),
        (["--idempotency-key", "k"], "Idempotency-Key", "k"),
        (["--call-id", "mine"], "X-Call-Id", "mine"),
    ],
)
def test_options_of_asynchronous_calls(invoke, gateway, words, name, value):
    """Each is a header of the call, and says that it is an asynchronous one."""
    gateway.answers = ACCEPTED
    said = invoke("resize", *words)
    assert (said.status, said.out) == (0, "c-1\n")
    assert gateway.asked[0][1] == "/async-function/resize"
    assert gateway.asked[0][2][name] == value


def test_async_prints_the_ids(invoke, gateway):
    """The call id alone, or both ids as JSON."""
    gateway.answers = ACCEPTED
    assert invoke("resize", "--async").out == "c-1\n"
    assert json.loads(invoke("resize", "--async", "--json").out) == {"call_id": "c-1", "queue_id": "q-1"}


def test_async_refused(invoke, gateway):
    """The gateway's sentence, status 1, nothing on stdout."""
    gateway.answers = (503, [("Retry-After", "5"), ("Content-Length", "18")], [b"the queue is full\n"])
    said = invoke("resize", "--async")
    assert (said.status, said.out) == (1, "")
    assert said.err == "faasd-py: resize was not accepted, 503 Service Unavailable: the queue is full\n"


def test_an_answer_of_400_or_more(invoke, gateway):
    """Its body is printed all the same, and the status is 1."""
    gateway.answers = (404, [("Content-Length", "5")], [b"gone\n"])
    said = invoke("resize")
    assert (said.status, said.out) == (1, "gone\n")
    assert said.err == "faasd-py: resize answered 404 Not Found\n"


def test_redirects_are_not_followed(invoke, gateway):
    """What the function said is what is printed."""
    gateway.answers = (302, [("Location", "http://127.0.0.1:1/"), ("Content-Length", "2")], [b"go"])
    assert invoke("resize").out == "go"


def test_include(invoke, gateway):
    """Status line and fields before the body."""
    gateway.answers = (200, [("X-A", "b"), ("Content-Length", "4")], [b"done"])
    lines = invoke("resize", "-i").out.splitlines()
    assert lines[0] == "HTTP/1.1 200 OK"
    assert "X-A: b" in lines
    assert lines[-2:] == ["", "done"]


def test_binary_answers(gateway, tmp_path):
    """Bytes in, bytes out."""
    every = bytes(range(256)) * 1000
    path = tmp_path / "body"
    path.write_bytes(every)
    gateway.answers = (200, [("Content-Length", str(len(every)))], [every])
    words = [
        sys.executable,
        "-m",
        "faasd_py",
        "invoke",
        "resize",
        "--file",
        str(path),
        "--gateway",
        gateway.url,
    ]
    done = subprocess.run(words, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == every
    assert gateway.asked[0][3] == every
    assert gateway.asked[0][2]["Transfer-Encoding"] == "chunked"


def test_what_is_piped_in_is_the_body(gateway):
    """Without --data and --file; and with --file - in any case."""
    for more in ([], ["--file", "-"]):
        words = [sys.executable, "-m", "faasd_py", "invoke", "resize", "--gateway", gateway.url, *more]
        done = subprocess.run(words, input=b"piped", capture_output=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        assert gateway.asked[-1][3] == b"piped"


def test_nothing_is_piped_in(gateway):
    """/dev/null is no body, and --data wins over a pipe."""
    words = [sys.executable, "-m", "faasd_py", "invoke", "resize", "--gateway", gateway.url]
    subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=True)
    assert gateway.asked[-1][3] == b""
    assert gateway.asked[-1][2]["Content-Length"] == "0"
    subprocess.run([*words, "-d", "said"], input=b"piped", capture_output=True, timeout=30, check=True)
    assert gateway.asked[-1][3] == b"said"


def test_the_answer_is_printed_as_it_comes(gateway):
    """The first piece is there before the last one is made."""
    first_seen = threading.Event()

    def pieces():
        yield b"5\r\nfirst\r\n"
        assert first_seen.wait(20)
        yield b"6\r\n, last\r\n0\r\n\r\n"

    gateway.answers = (200, [("Transfer-Encoding", "chunked")], pieces())
    words = [sys.executable, "-m", "faasd_py", "invoke", "resize", "-d", "", "--gateway", gateway.url]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as child:
        assert child.stdout.read(5) == b"first"
        first_seen.set()
        assert child.stdout.read() == b", last"
    assert child.returncode == 0


def test_a_gateway_that_does_not_want_to_read(invoke, gateway, tmp_path):
    """It answers 413 and closes: the answer is heard although the body was not sent whole."""
    gateway.hasty = True
    gateway.answers = (413, [("Content-Length", "10"), ("Connection", "close")], [b"too large\n"])
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    said = invoke("resize", "--file", str(path))
    assert said.status == 1
    assert "413" in said.err or "closed the connection before the body was sent" in said.err


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((200, [("Content-Length", "9")], [b"part"]), "broke off the answer: IncompleteRead"),
        ((200, [("Transfer-Encoding", "chunked")], [b"5\r\npar"]), "broke off the answer: IncompleteRead"),
    ],
)
def test_an_answer_that_breaks_off(invoke, gateway, answer, sentence):
    """Status 1: half an answer is no answer."""
    gateway.answers = answer
    said = invoke("resize")
    assert said.status == 1
    assert sentence in said.err


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 two\r\n\r\n"])
def test_something_else_answers(cli, answer):
    """Not HTTP, or nothing at all: one sentence."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection = server.accept()[0]
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        said = cli("invoke", "x", "-d", "", "--gateway", f"http://127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    assert said.status == 1
    assert "broke off the answer" in said.err
    assert said.err.count("\n") == 1


def test_nobody_is_there(cli):
    """The URL and the reason."""
    said = cli("invoke", "x", "-d", "", "--gateway", "127.0.0.1:1")
    assert (said.status, said.err) == (
        1,
        "faasd-py: cannot connect to http://127.0.0.1:1: connection refused\n",
    )
    said = cli("invoke", "x", "-d", "", "--gateway", "unix:/nowhere.sock")
    assert said.err == "faasd-py: cannot connect to unix:/nowhere.sock: no such file or directory\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["a b"], "expected NAME or NAME.NAMESPACE, got 'a b'"),
        ([""], "expected NAME or NAME.NAMESPACE, got ''"),
        (["/x"], "expected NAME or NAME.NAMESPACE, got ''"),
        (["x", "-H", "nonsense"], "expected a header like 'Name: value', got 'nonsense'"),
        (["x", "-H", "a b: c"], "expected a header like 'Name: value', got 'a b: c'"),
        (["x", "-H", "a: b\r\nc: d"], "header a cannot have the value 'b\\r\\nc: d'"),
        (["x", "--call-id", "a\nb"], "header X-Call-Id cannot have the value 'a\\nb'"),
        (["x", "--delay", "☃"], "header X-Delay cannot have the value '☃'"),
        (["x", "-X", "GET /"], "expected an HTTP method, got 'GET /'"),
        (["x", "--file", "/nowhere"], "/nowhere cannot be read: No such file or directory"),
        (["x", "--file", "/"], "/ cannot be read: Is a directory"),
    ],
)
def test_wrong_usage(cli, words, sentence):
    """One sentence, status 2, nothing is sent."""
    said = cli("invoke", *words)
    assert said.status == 2
    assert said.err.startswith(f"faasd-py: invoke: {sentence}")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:99999", "http://[::1", "http://a b"])
def test_gateways_that_are_none(cli, url):
    """One sentence, status 2."""
    said = cli("invoke", "x", "--gateway", url)
    assert said.status == 2
    assert said.err.startswith("faasd-py: expected a gateway like")
    assert said.err.count("\n") == 1


def test_where_the_gateway_is(cli, config, gateway, monkeypatch):
    """--gateway, else $OPENFAAS_URL, else what the configuration listens on; an address of everywhere is here."""
    port = gateway.server_port
    config.write_text(f"[gateway]\nlisten = ['0.0.0.0:{port}']")
    assert cli("invoke", "a", "-d", "").out == "done"
    config.write_text("[gateway]\nlisten = ['127.0.0.1:1']")
    monkeypatch.setenv("OPENFAAS_URL", f"{gateway.url}/prefix/")
    assert cli("invoke", "a", "-d", "").out == "done"
    assert gateway.asked[-1][1] == "/prefix/function/a"
    monkeypatch.setenv("OPENFAAS_URL", "http://127.0.0.1:1")
    assert cli("invoke", "a", "-d", "", "-g", gateway.url).out == "done"


def test_over_a_unix_socket(cli, config, tmp_path):
    """A gateway that listens on unix:/path is found by the configuration too."""
    path = tmp_path / "gateway.sock"
    config.write_text(f"[gateway]\nlisten = ['unix:{path}']")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve():
            connection = server.accept()[0]
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        thread = threading.Thread(target=serve)
        thread.start()
        said = cli("invoke", "a", "-d", "")
        thread.join()
    assert (said.status, said.out) == (0, "ok")


def test_locating_without_a_file(monkeypatch):
    """Without any configuration it is OpenFaaS' usual place."""
    from faasd_py.cli.gateway import locate

    monkeypatch.setenv("FAASD_PY_CONFIG", "/nowhere/config.toml")
    assert locate(None, None) == "http://127.0.0.1:8080"


def test_tls_by_the_configuration(config):
    """With [gateway.tls] the URL is https; [::] is the loopback of IPv6."""
    from faasd_py.cli.gateway import locate

    config.write_text("[gateway]\nlisten = ['[::]:8443']\n[gateway.tls]\ncertificate = 'c'\nkey = 'k'")
    assert locate(None, str(config)) == "https://[::1]:8443"


def test_reading_is_by_pieces():
    """`read1` gives what is there: the streaming of answers relies on it."""
    assert hasattr(http.client.HTTPResponse, "read1")
    assert hasattr(io.BufferedReader, "read1")
