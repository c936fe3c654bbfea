"""Finding and reading the file, defaults, the environment, and printing it back."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasd_py.config import Config, FunctionSettings, find, load, parse, plain, show
from faasd_py.core.durations import Duration, Size


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "FAASD_PY_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def test_the_argument_wins(monkeypatch):
    """--config, then $FAASD_PY_CONFIG, then /etc; an empty variable counts as none."""
    assert find(None) == Path("/etc/faasd-py/config.toml")
    monkeypatch.setenv("FAASD_PY_CONFIG", "/b.toml")
    assert find(None) == Path("/b.toml")
    assert find("/a.toml") == Path("/a.toml")
    monkeypatch.setenv("FAASD_PY_CONFIG", "")
    assert find(None) == Path("/etc/faasd-py/config.toml")


def test_an_empty_file_is_all_defaults(tmp_path):
    """Nothing has to be said."""
    path = tmp_path / "config.toml"
    path.write_text("")
    assert load(path) == Config()


def test_a_byte_order_mark_does_not_matter(tmp_path):
    """Editors of another system write one."""
    path = tmp_path / "config.toml"
    path.write_bytes(b'\xef\xbb\xbf[log]\r\nlevel = "debug"\r\n')
    assert load(path).log.level == "debug"


def test_values_are_what_they_say():
    """Durations are seconds, sizes are bytes, and both may be plain numbers."""
    config = parse(
        '[workers]\ngrace = "1m30s"\n[queue]\nmax_bytes = "2GiB"\nresult_retention = 90\nmax_result = 1000',
        "c",
    )
    assert config.workers.grace == 90
    assert config.queue.max_bytes == 2 << 30
    assert config.queue.result_retention == 90
    assert config.queue.max_result == 1000


def test_settings_are_frozen():
    """Nobody changes them on the way."""
    with pytest.raises(AttributeError):
        Config().gateway.max_headers = 3


def test_options_are_handed_on_raw():
    """Whatever a backend may want, nested or not."""
    config = parse('[queue.options]\nurl = "x"\nn = 3\nnested = { a = [1, 2] }\nday = 1979-05-27', "c")
    assert config.queue.options["nested"] == {"a": [1, 2]}
    assert config.queue.options["day"].year == 1979


def test_directories_under_systemd(monkeypatch):
    """What the unit made wins over the default, and the file wins over it; the first of several counts."""
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/private/faasd-py:/other")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/private/faasd-py")
    state = parse("", "c").state
    assert (state.directory, state.runtime_directory) == (
        "/var/lib/private/faasd-py",
        "/run/private/faasd-py",
    )
    state = parse('[state]\ndirectory = "/mine"', "c").state
    assert (state.directory, state.runtime_directory) == ("/mine", "/run/private/faasd-py")


FULL = """
plugins = ["statsd"]
[gateway.tls]
certificate = "/c.pem"
key = "/k.pem"
[queue.options]
"odd key" = "tab\\tquote\\" delete\\u007f"
endless = inf
day = 1979-05-27T07:32:00Z
list = [{ a = 1 }]
[functions.resize]
command = ["python3", "-c", "print('\\\\n')"]
environment = { "A.B" = "é" }
rate = { calls = 5, per = "250ms" }
retry = { codes = [500, 429], min_wait = "5ms" }
limits = { memory = "128MiB", cpu = 0.5 }
[functions.api]
command = ["x"]
mode = "http"
replicas = { min = 0, max = 2 }
"""


def test_what_is_printed_reads_back_to_the_same():
    """Also odd keys, control characters, dates, inline tables, settings that have no value."""
    for config in (Config(), parse(FULL, "c")):
        assert parse(show(config), "shown") == config


def test_printing_writes_every_value_out():
    """Everything that has a value is there; what has none is left out."""
    text = show(parse(FULL, "c"))
    assert 'idle_timeout = "1m15s"' in text
    assert 'max_body = "64MiB"' in text
    assert "codes = [429, 500]" in text
    assert "working_directory" not in text


def test_plain_values_for_json():
    """Durations and sizes as people write them."""
    told = plain(Config())
    assert told["gateway"]["max_body"] == "64MiB"
    assert told["callback"]["schedule"][0] == "5s"
    assert plain(FunctionSettings())["retry"]["codes"] == [408, 429, 500, 502, 503, 504]


@given(
    st.one_of(
        st.integers(0, 10**9).map(lambda ms: ms / 1000),
        st.integers(0, 10**7).map(float),
        st.integers(1, 999).map(lambda ns: ns * 1e-9),
    )
)
def test_durations_survive_printing(seconds):
    """To the precision that matters: what is printed reads back to the same length of time."""
    text = show(Config(workers=Config().workers.__class__(grace=Duration(seconds))))
    assert parse(text, "c").workers.grace == pytest.approx(seconds, rel=1e-6, abs=1e-12)


@given(st.integers(0, 1 << 50))
def test_sizes_survive_printing(size):
    """Exactly."""
    text = show(Config(queue=Config().queue.__class__(max_bytes=Size(size))))
    assert parse(text, "c").queue.max_bytes == size


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_any_text_is_settings_or_a_sentence(text):
    """Never anything else than ConfigError."""
    from faasd_py.config.load import examine

    config, wrong = examine(text)
    assert (config is None) <= bool(wrong)


VALUES = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-10, 10),
        st.floats(allow_nan=False),
        st.sampled_from(["", "x", "1s", "fork", "http://x"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["a", "min", "calls"]), inner, max_size=2),
    ),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(FunctionSettings.__struct_fields__), VALUES, max_size=4))
def test_any_function_is_settings_or_a_sentence(function):
    """Whatever stands where: settings, or sentences that begin with the function's name."""
    from faasd_py.config.load import examine
    from faasd_py.config.show import _value

    config, wrong = examine("functions.x = " + _value(function))
    assert config is not None or wrong
    assert all(sentence.startswith("functions.x") for sentence in wrong)
