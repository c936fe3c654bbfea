"""What is wrong with a file: one sentence with the table, the key, what was expected and what there is."""

import pytest

from faasd_py.config import load, parse
from faasd_py.config.load import examine
from faasd_py.core.errors import ConfigError

URL = 'url = "http://10.0.0.5:9000"\n'


def wrong(text: str) -> str:
    """The sentence for a text that must not be accepted."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "config.toml")
    sentence = str(caught.value)
    assert sentence.startswith("config.toml: ")
    assert "\n" not in sentence
    return sentence.removeprefix("config.toml: ")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("gateway = 1", "gateway: expected a table, got 1"),
        ("[gateway]\nlisten = 'x:1'", 'gateway.listen: expected an array, got "x:1"'),
        ("[gateway]\nlisten = [1]", "gateway.listen[0]: expected a string, got 1"),
        ("[gateway]\nmax_connections = 4.0", "gateway.max_connections: expected an integer, got 4.0"),
        ("[gateway]\nmax_connections = true", "gateway.max_connections: expected an integer, got true"),
        ("[queue]\nmax_depth = 'many'", 'queue.max_depth: expected an integer, got "many"'),
        ("[queue]\nmax_depth = 0", "queue.max_depth: expected an integer >= 1, got 0"),
        ("[auth]\nenabled = 'yes'", 'auth.enabled: expected true or false, got "yes"'),
        ("[queue]\noptions = 3", "queue.options: expected a table, got 3"),
        ("services.x = 3", "services.x: expected a table, got 3"),
        ("plugins = 'x'", 'plugins: expected an array, got "x"'),
        ("functions = []", "functions: expected a table, got []"),
        ("[functions]\nx = 1", "functions.x: expected a table, got 1"),
        ("[functions.x]\nurl = 3", "functions.x.url: expected a string, got 3"),
        ("[functions.x.limits]\ncpu = 'a'", 'functions.x.limits.cpu: expected a number, got "a"'),
        (
            "[functions.x]\nenvironment = { OK = 'a', A = 1 }",
            "functions.x.environment.A: expected a string, got 1",
        ),
        ("[functions.x.retry]\ncodes = ['a']", 'functions.x.retry.codes[0]: expected an integer, got "a"'),
        (
            "[functions.x]\nreplicas = { max = 0 }",
            "functions.x.replicas.max: expected an integer >= 1, got 0",
        ),
        (
            "[functions.x]\nreplicas = { min = -1 }",
            "functions.x.replicas.min: expected an integer >= 0, got -1",
        ),
        ("[functions.x]\nport = 1979-05-27", 'functions.x.port: expected an integer, got "1979-05-27"'),
    ],
)
def test_wrong_types(text, sentence):
    """In the words of the file: table, array, string, integer, number."""
    assert wrong(text) == sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[gatewya]", "gatewya: there is no such setting (is gateway meant?)"),
        ("[queue]\nmax_dept = 1", "queue.max_dept: there is no such setting (is max_depth meant?)"),
        ("[queue]\nx = 2", "queue.x: there is no such setting"),
        ("[gateway.tls]\ncert = 'x'", "gateway.tls.cert: there is no such setting"),
        (
            f"[functions.x]\n{URL}exec-timeout = 1",
            "functions.x.exec-timeout: there is no such setting (is exec_timeout meant?)",
        ),
        (
            "[functions.x.retry]\nattemps = 1",
            "functions.x.retry.attemps: there is no such setting (is attempts meant?)",
        ),
        ('[functions.x]\n"a.b" = 1', "functions.x.a.b: there is no such setting"),
        ("[gateway.tls]\nkey = 'x'", "gateway.tls.certificate: this setting is required"),
        (f"[functions.x]\n{URL}rate = {{}}", "functions.x.rate.calls: this setting is required"),
    ],
)
def test_unknown_and_missing_keys(text, sentence):
    """An unknown key is refused, with the one that was probably meant."""
    assert wrong(text) == sentence


DURATION = 'expected a duration like "250ms", "10s" or "1m30s"'
SIZE = 'expected a size like "256KiB" or "64MiB"'


@pytest.mark.parametrize(
    "value", ['"1x"', '""', '"-1s"', '"1.5"', '"1h 2m"', '"s"', "1.5", "-1", "true", "[]", '"∞"', '"1e3s"']
)
def test_bad_durations(value):
    """Numbers with a unit, largest first; whole numbers are seconds; nothing else."""
    sentence = wrong(f"[workers]\ngrace = {value}")
    assert sentence.startswith(f"workers.grace: {DURATION}, got ")


@pytest.mark.parametrize(
    "value", ['"1.5MiB"', '"64mb"', '""', '"-1"', "1.5", "-1", "true", '"MiB"', '"1 PiB"', "{}"]
)
def test_bad_sizes(value):
    """Whole numbers with B, KiB, MB, …; whole numbers alone are bytes; nothing else."""
    sentence = wrong(f"[queue]\nmax_bytes = {value}")
    assert sentence.startswith(f"queue.max_bytes: {SIZE}, got ")


def test_the_place_of_a_bad_element():
    """Arrays say which."""
    assert wrong('[callback]\nschedule = ["5s", "x"]') == f'callback.schedule[1]: {DURATION}, got "x"'


@pytest.mark.parametrize("key", ["level", "format"])
def test_choices(key):
    """A word that is none of a few: the sentence names them."""
    choices = {"level": '"debug", "info", "warning" or "error"', "format": '"text" or "json"'}
    assert wrong(f"[log]\n{key} = 'loud'") == f'log.{key}: expected {choices[key]}, got "loud"'


def test_the_right_function_is_blamed():
    """Two functions with the same key: the sentence names the one whose value is wrong."""
    text = f'[functions.a]\n{URL}exec_timeout = "1m"\n[functions.b]\n{URL}exec_timeout = "1x"'
    assert wrong(text).startswith("functions.b.exec_timeout: ")


def test_long_values_are_cut():
    """A sentence stays one that can be read."""
    assert len(wrong(f'[log]\nlevel = "{"x" * 10_000}"')) < 200


@pytest.mark.parametrize("text", ["a = 1\na = 2", "x =", "[a\n", "x = 'a\nb'", "= 1", "\0", "[a]\n[a]"])
def test_not_toml(text):
    """The parser's own sentence, with the line where it gave up."""
    assert "(at " in wrong(text)


def test_too_deep():
    """Nesting that would exhaust the parser is an error like any other."""
    assert wrong(f"x = {'[' * 100_000}")


def test_all_that_is_wrong_comes_to_light_at_once():
    """`examine` goes on: one sentence for each table and function, then for each rule."""
    config, sentences = examine(
        "[queue]\nmax_depth = 0\n[log]\nlevel = 'x'\n[functions.x]\nurl = 3\n[functions.y]\nz = 1"
    )
    assert config is None
    assert [sentence.partition(":")[0] for sentence in sentences] == [
        "functions.x.url",
        "functions.y.z",
        "queue.max_depth",
        "log.level",
    ]
    config, sentences = examine('[gateway]\nlisten = ["x", "y"]\nidle_timeout = 0')
    assert config is not None
    assert [sentence.partition(":")[0] for sentence in sentences] == [
        "gateway.listen[0]",
        "gateway.listen[1]",
        "gateway.idle_timeout",
    ]


def test_files_that_cannot_be_read(tmp_path):
    """Missing, a directory, not UTF-8: the path and the reason."""
    path = tmp_path / "config.toml"
    with pytest.raises(ConfigError, match=r"config.toml: cannot be read: No such file or directory"):
        load(path)
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        load(tmp_path)
    path.write_bytes(b'[log]\nlevel = "\xff"')
    with pytest.raises(ConfigError, match=r"config.toml: is not UTF-8: byte 15 is wrong"):
        load(path)
