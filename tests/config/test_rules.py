"""What must hold beyond types: addresses, names, URLs, and settings that only make sense together."""

import pytest

from faasd_py.config import parse
from faasd_py.core.errors import ConfigError

COMMAND = 'command = ["cat"]'
LISTEN = 'expected "HOST:PORT", "[IPV6]:PORT" or "unix:/path"'


def wrong(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, "c")
    return str(caught.value).removeprefix("c: ")


def function(*lines: str) -> str:
    return "[functions.x]\n" + "\n".join(lines)


def toml(text: str) -> str:
    """A TOML basic string."""
    return (
        '"'
        + text.replace("\\", "\\\\").replace('"', '\\"').replace("\0", "\\u0000").replace("\n", "\\n")
        + '"'
    )


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:8080",
        "localhost:80",
        "[::1]:80",
        "[::]:65535",
        "0.0.0.0:0",
        "unix:/run/x.sock",
        "my-host.lan:1",
    ],
)
@pytest.mark.parametrize("table", ["gateway", "metrics"])
def test_good_listen_addresses(address, table):
    """Host and port, IPv6 in brackets, a unix socket; port 0 is any free one."""
    other = {"gateway": "metrics", "metrics": "gateway"}[table]
    config = parse(f"[{table}]\nlisten = ['{address}']\n[{other}]\nlisten = ['127.0.0.1:9']", "c")
    assert getattr(config, table).listen == [address]


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("8080", f'{LISTEN}, got "8080"'),
        (":8080", f'{LISTEN}, got ":8080"'),
        ("localhost", f'{LISTEN}, got "localhost"'),
        ("localhost:", f'{LISTEN}, got "localhost:"'),
        ("localhost:http", f'{LISTEN}, got "localhost:http"'),
        ("::1:80", f'{LISTEN}, got "::1:80"'),
        ("http://x:80", f'{LISTEN}, got "http://x:80"'),
        ("a b:80", f'{LISTEN}, got "a b:80"'),
        ("", f'{LISTEN}, got ""'),
        ("x:٨٠", f'{LISTEN}, got "x:٨٠"'),
        ("x:65536", 'expected a port from 1 to 65535 (0: any free one), got "x:65536"'),
        ("x:99999", 'expected a port from 1 to 65535 (0: any free one), got "x:99999"'),
        ("x:-1", f'{LISTEN}, got "x:-1"'),
        ("[::zz]:80", 'expected an IPv6 address in the brackets, got "[::zz]:80"'),
        ("[127.0.0.1]:80", 'expected an IPv6 address in the brackets, got "[127.0.0.1]:80"'),
        ("unix:", "expected an absolute path after \"unix:\", got 'unix:'"),
        ("unix:run/x", "expected an absolute path after \"unix:\", got 'unix:run/x'"),
        ("unix:/run/", "expected an absolute path after \"unix:\", got 'unix:/run/'"),
        ("unix:/" + "x" * 107, "the path of a unix socket has at most 107 bytes, got 108"),
    ],
)
def test_bad_listen_addresses(address, sentence):
    """One sentence that says what would do."""
    assert wrong(f"[gateway]\nlisten = ['{address}']") == f"gateway.listen[0]: {sentence}"


def test_listening_nowhere_and_twice():
    """The gateway needs a door, metrics need none, and two doors cannot be in one place."""
    assert wrong("[gateway]\nlisten = []") == "gateway.listen: expected at least one address, got []"
    assert parse("[metrics]\nlisten = []", "c").metrics.listen == []
    same = 'metrics.listen[0]: "127.0.0.1:8080" is listened on already'
    assert wrong("[metrics]\nlisten = ['127.0.0.1:8080']") == same
    assert parse("[gateway]\nlisten = ['127.0.0.1:0', '127.0.0.1:0']", "c").gateway.listen[1] == "127.0.0.1:0"


@pytest.mark.parametrize(
    "word",
    [
        "public",
        "private",
        "loopback",
        "link-local",
        "10.0.0.0/8",
        "fd00::/8",
        "192.168.1.5",
        "::1",
        "hooks.lan",
        "*.lan",
        "x",
    ],
)
def test_whom_callbacks_may_reach(word):
    """Kinds of addresses, networks, addresses, hosts."""
    assert parse(f"[callback]\nallow = ['{word}']", "c").callback.allow == [word]


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("10.0.0.0/33", 'expected a network like "10.0.0.0/8", got "10.0.0.0/33"'),
        (
            "10.0.0.1/8",
            'expected a network like "10.0.0.0/8", got "10.0.0.1/8" (10.0.0.1/8 has host bits set)',
        ),
        ("300.0.0.1", 'expected a network like "10.0.0.0/8", got "300.0.0.1"'),
        ("http://x/", 'expected a network like "10.0.0.0/8", got "http://x/"'),
        ("x:80", 'expected a network like "10.0.0.0/8", got "x:80"'),
        ("Public!", 'expected "public", "private", "loopback", "link-local", a network'),
        ("*", 'expected a network like "10.0.0.0/8", got "*"'),
        ("a.*.lan", 'expected "public", "private", "loopback", "link-local", a network'),
        ("", 'expected "public", "private", "loopback", "link-local", a network'),
        ("x" * 254, 'expected "public", "private", "loopback", "link-local", a network'),
    ],
)
def test_bad_words_about_callbacks(word, sentence):
    """A slip must not open or close the guard silently."""
    assert wrong(f"[callback]\nallow = ['public', '{word}']").startswith(f"callback.allow[1]: {sentence}")


@pytest.mark.parametrize(
    "key",
    [
        "gateway.head_timeout",
        "gateway.idle_timeout",
        "gateway.read_timeout",
        "gateway.write_timeout",
        "callback.timeout",
    ],
)
def test_durations_that_cannot_be_zero(key):
    """Nothing would ever get through."""
    table, _, name = key.partition(".")
    assert wrong(f"[{table}]\n{name} = 0") == f'{key}: expected a duration above 0, got "0s"'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[gateway]\nmax_head = 100", 'gateway.max_head: expected "1KiB" or more, got "100B"'),
        ("[gateway]\nnamespace = 'a b'", "gateway.namespace: expected a word of small letters"),
        ("[gateway]\nnamespace = 'a.b'", 'gateway.namespace: expected a word without a dot, got "a.b"'),
        ("[gateway]\nnames = ['x:80']", 'gateway.names[0]: expected a host name without a port, got "x:80"'),
        (
            "[gateway]\nnames = ['http://x']",
            'gateway.names[0]: expected a host name without a port, got "http://x"',
        ),
        (
            "[gateway.tls]\nkey = ''\ncertificate = 'x'",
            'gateway.tls.key: expected the path of a PEM file, got ""',
        ),
        (
            r"[gateway.tls]" + "\nkey = 'x'\n" + r'certificate = "a\u0000b"',
            r'gateway.tls.certificate: expected the path of a PEM file, got "a\u0000b"',
        ),
        ("[state]\ndirectory = ''", 'state.directory: expected the path of a directory, got ""'),
        (
            "[state]\nruntime_directory = ' '",
            'state.runtime_directory: expected the path of a directory, got " "',
        ),
        ("[queue]\nbackend = 'SQLite'", "queue.backend: expected a word of small letters"),
        ("[queue]\nbackend = ''", "queue.backend: expected a word of small letters"),
        ("plugins = ['../x']", "plugins[0]: expected a word of small letters"),
        ("[services.'../x']", "services.../x: expected a word of small letters"),
        ("[runtimes.'../x']", "runtimes.../x: expected a word of small letters"),
        ("[callback]\nsecrets = ['']", 'callback.secrets[0]: expected the path of a file, got ""'),
    ],
)
def test_tables(text, sentence):
    """Each table's own rules."""
    assert wrong(text).startswith(sentence)


def test_own_names():
    """Host names and addresses, IPv6 with or without brackets."""
    config = parse("[gateway]\nnames = ['gateway', 'box.lan', '10.0.0.1', '::1', '[::1]']", "c")
    assert len(config.gateway.names) == 5


@pytest.mark.parametrize("name", ["a b", "-a", "a-", "a.b", "é", "a/b", "x" * 64, "_"])
def test_bad_function_names(name):
    """Letters, digits, '-' and '_', for they stand in a path."""
    assert wrong(f"[functions.'{name}']\n{COMMAND}").startswith(
        f"functions.{name}: a function name is 1 to 63 letters"
    )


def test_a_function_is_one_thing():
    """A command, a url or an image, and nothing is not enough."""
    expected = "functions.x: expected exactly one of command, url and image, got"
    assert wrong("[functions.x]") == f"{expected} none of them"
    assert wrong(function(COMMAND, 'url = "http://x"')) == f"{expected} command and url"
    assert (
        wrong(function(COMMAND, 'url = "http://x"', "image = 'x'")) == f"{expected} command and url and image"
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.5:9000",
        "https://api.lan/base/",
        "http+unix:///run/app.sock",
        "http://[::1]:80/",
        "http://x",
    ],
)
def test_good_urls(url):
    """With a host, or of a unix socket the path."""
    assert parse(function(f"url = '{url}'"), "c").functions["x"].url == url


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("10.0.0.5:9000", 'expected a URL like "http://10.0.0.5:9000", got "10.0.0.5:9000"'),
        ("ftp://x", 'expected a URL like "http://10.0.0.5:9000", got "ftp://x"'),
        ("http:///path", 'expected a URL like "http://10.0.0.5:9000", got "http:///path"'),
        ("http://x:0", 'expected a URL like "http://10.0.0.5:9000", got "http://x:0"'),
        (
            "http://x:99999",
            'expected a URL like "http://10.0.0.5:9000", got "http://x:99999" (Port out of range 0-65535)',
        ),
        ("http://[::1", 'expected a URL like "http://10.0.0.5:9000", got "http://[::1" (Invalid IPv6 URL)'),
        ("http://a b", "expected a URL without spaces, control and non-ASCII characters, got 'http://a b'"),
        ("http://x\n", "expected a URL without spaces, control and non-ASCII characters, got 'http://x\\n'"),
        ("http://é", "expected a URL without spaces, control and non-ASCII characters, got 'http://\\xe9'"),
        ("http://u:p@x", "a URL with a user name, a query or a fragment cannot be used: x"),
        ("http://x/#f", "a URL with a user name, a query or a fragment cannot be used: x"),
        ("http://x/?q", "a URL with a user name, a query or a fragment cannot be used: x"),
        ("http+unix://run/x", 'expected a URL like "http+unix:///run/app.sock", got "http+unix://run/x"'),
        ("http+unix:///", 'expected a URL like "http+unix:///run/app.sock", got "http+unix:///"'),
        ("", 'expected a URL like "http://10.0.0.5:9000", got ""'),
    ],
)
def test_bad_urls(url, sentence):
    """The sentence says what would do, and never prints a password."""
    assert wrong(function(f"url = {toml(url)}")) == f"functions.x.url: {sentence}"


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ((COMMAND, "mode = 'Fork'"), '.mode: expected a word like "fork", "stream" or "http", got "Fork"'),
        ((COMMAND, "mode = ''"), '.mode: expected a word like "fork", "stream" or "http", got ""'),
        (
            (COMMAND, "mode = 'url'"),
            '.mode: expected "fork", "stream", "http" or the mode of a plug-in, got "url"',
        ),
        (
            ("url = 'http://x'", "mode = 'http'"),
            '.mode: a function with a url is not run here, so it has no mode "http"',
        ),
        (("image = 'x'", "mode = 'fork'"), '.mode: mode "fork" runs a command, not an image'),
    ],
)
def test_modes(lines, sentence):
    """A mode fits what the function is; names that nobody registers are found by `check`."""
    assert wrong(function(*lines)) == f"functions.x{sentence}"


def test_modes_of_plug_ins():
    """Any word may be a plug-in's."""
    assert parse(function(COMMAND, "mode = 'wasm'"), "c").functions["x"].mode == "wasm"
    assert parse(function("image = 'x'", "mode = 'podman'"), "c").functions["x"].mode == "podman"
    assert parse(function("url = 'http://x'", "mode = 'url'"), "c").functions["x"].mode == "url"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("command = []", ".command: expected the program to run and its arguments, got []"),
        ("command = ['']", '.command: expected the program to run and its arguments, got [""]'),
        (r'command = ["a", "b\u0000"]', ".command[1]: a NUL cannot be passed to a program"),
    ],
)
def test_commands(line, sentence):
    """A program, and what a program can be given."""
    assert wrong(function(line)) == f"functions.x{sentence}"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("environment = { 'A=B' = 'x' }", ".environment.A=B: expected a name without '=' and no NUL"),
        ("environment = { '' = 'x' }", ".environment.: expected a name without '=' and no NUL"),
        (r'environment = { A = "\u0000" }', ".environment.A: expected a name without '=' and no NUL"),
        ("working_directory = ''", '.working_directory: expected a name, got ""'),
        ("user = ' '", '.user: expected a name, got " "'),
        ("limits = { cpu = 0.0 }", ".limits.cpu: expected a number of cores above 0, got 0.0"),
        ("limits = { cpu = nan }", ".limits.cpu: expected a number of cores above 0, got nan"),
        ("limits = { cpu = inf }", ".limits.cpu: expected a number of cores above 0, got inf"),
        ("limits = { memory = 0 }", '.limits.memory: expected a size above 0, got "0B"'),
        (
            "secrets = ['../shadow']",
            '.secrets[0]: expected a file name below the secrets directory, got "../shadow"',
        ),
        ("secrets = ['..']", '.secrets[0]: expected a file name below the secrets directory, got ".."'),
        (r'content_type = "a\r\nX-Evil: 1"', ".content_type: expected one line of text"),
        ("rate = { calls = 1, per = 0 }", '.rate.per: expected a duration above 0, got "0s"'),
        ("retry = { attempts = 0 }", ".retry.attempts: expected an integer >= 1, got 0"),
        ("retry = { codes = [200, 99] }", ".retry.codes: expected HTTP statuses from 100 to 599, got 99"),
        (
            "retry = { min_wait = '1m', max_wait = '1s' }",
            '.retry: expected max_wait >= min_wait, got min_wait "1m" and max_wait "1s"',
        ),
    ],
)
def test_function_settings(line, sentence):
    """Values that a program, a header or a schedule could not have."""
    assert wrong(function(COMMAND, line)).startswith(f"functions.x{sentence}")


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        (COMMAND, ["port = 80", "unix_socket = true", "ready_path = '/'", "replicas = { max = 2 }"]),
        (COMMAND, ["read_timeout = 5", "write_timeout = 5", "start_timeout = 5", "idle_timeout = 5"]),
        (f"{COMMAND}\nmode = 'stream'", ["port = 80", "max_idle_connections = 1"]),
        (
            f"{COMMAND}\nmode = 'http'",
            ["combine_output = true", "content_type = 'a/b'", "cgi_headers = false"],
        ),
        (
            "url = 'http://x'",
            ["port = 80", "environment = { A = 'b' }", "working_directory = '/'", "secrets = ['s']"],
        ),
        (
            "url = 'http://x'",
            ["user = 'root'", "limits = { open_files = 9 }", "kill_grace = 5", "write_timeout = 5"],
        ),
    ],
)
def test_what_a_mode_does_not_heed(kind, lines):
    """It would be ignored, so it is refused, and the sentence names the modes that heed it."""
    for line in lines:
        key = line.partition(" ")[0]
        assert wrong(function(kind, line)).startswith(f"functions.x.{key}: mode "), line


def test_the_modes_that_heed_a_setting_are_named():
    """In the sentence that refuses it."""
    sentence = 'functions.x.combine_output: mode "http" does not heed it, only fork and stream'
    assert wrong(function(f"{COMMAND}\nmode = 'http'", "combine_output = true")) == sentence


def test_a_plug_ins_mode_judges_by_itself():
    """We do not know what it heeds."""
    assert parse(function(f"{COMMAND}\nmode = 'greet'", "port = 80", "combine_output = true"), "x")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("replicas = { min = 2, max = 1 }", ".replicas: expected max >= min, got min 2 and max 1"),
        ("replicas = { min = 2 }", ".replicas: expected max >= min, got min 2 and max 1"),
        ("port = 65536", ".port: expected a port up to 65535, or 0 for a free one, got 65536"),
        ("port = 80\nunix_socket = true", ".port: a function that listens on UNIX_SOCKET has no port"),
        ("port = 80\nreplicas = { max = 2 }", ".port: one port serves one replica, and replicas.max is 2"),
        ("ready_path = 'ready'", '.ready_path: expected a path like "/_/ready", got "ready"'),
        ("ready_path = '/a b'", '.ready_path: expected a path like "/_/ready", got "/a b"'),
        ("read_timeout = 0", '.read_timeout: expected a duration above 0, got "0s"'),
        ("write_timeout = 0", '.write_timeout: expected a duration above 0, got "0s"'),
        ("start_timeout = 0", '.start_timeout: expected a duration above 0, got "0s"'),
        ("idle_timeout = 0", '.idle_timeout: expected a duration above 0, got "0s"'),
    ],
)
def test_services(line, sentence):
    """What only long-lived processes have, and have together."""
    assert wrong(function(COMMAND, "mode = 'http'", line)) == f"functions.x{sentence}"


def test_a_port_inside_a_container_is_shared_by_nobody():
    """Each replica of an image has one of its own."""
    config = parse(function("image = 'box:1'", "port = 80", "replicas = { max = 2 }"), "c")
    assert config.functions["x"].port == 80


def test_zero_that_means_something():
    """No time limit, no grace, nothing kept."""
    config = parse(
        "[workers]\ngrace = 0\n[queue]\nresult_retention = 0\nmax_result = 0\nidempotency_window = 0\n[callback]\nschedule = []\n"
        + function(
            COMMAND,
            "exec_timeout = 0",
            "kill_grace = 0",
            "max_inflight = 0",
            "retry = { min_wait = 0, max_wait = 0 }",
        ),
        "c",
    )
    assert config.functions["x"].exec_timeout == 0
    assert config.callback.schedule == []
