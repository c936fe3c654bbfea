"""A plug-in's own table: the values and the sentences of config.toml."""

import msgspec
import pytest

from faasd_py.api import ConfigError, Duration, Size, convert_options, read_secret

PLACE = "queue.options"


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A backend's settings, with one of each kind."""

    hub: str
    patience: Duration = Duration(5)
    room: Size = Size(1024)
    lanes: list[str] = msgspec.field(default_factory=list)


def test_durations_and_sizes_are_read():
    """As everywhere else in config.toml."""
    options = convert_options({"hub": "h", "patience": "1m30s", "room": "2MiB"}, Options, PLACE)
    assert options == Options("h", Duration(90), Size(2 << 20), [])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "queue.options.hub: this setting is required"),
        (
            {"hub": "h", "patients": 1},
            "queue.options.patients: there is no such setting (is patience meant?)",
        ),
        ({"hub": 1}, "queue.options.hub: expected a string, got 1"),
        ({"hub": "h", "room": "much"}, "queue.options.room: expected a size"),
        ({"hub": "h", "lanes": ["a", 2]}, "queue.options.lanes[1]: expected a string, got 2"),
    ],
)
def test_what_is_wrong_is_named(given, said):
    """One sentence: the place, what is expected there, what was found."""
    with pytest.raises(ConfigError) as caught:
        convert_options(given, Options, PLACE)
    assert str(caught.value).startswith(said)


def test_secrets_come_from_files(tmp_path):
    """Without the newline; a file that is not there, or is no text, is named, and its content is not."""
    (tmp_path / "password").write_text("s3cret\n")
    assert read_secret(str(tmp_path / "password"), "queue.options.password_file") == "s3cret"
    assert read_secret(None, "queue.options.token_file") is None
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("nothing", "binary", "."):
        with pytest.raises(ConfigError, match=r"^queue\.options\.token_file: cannot read"):
            read_secret(str(tmp_path / name), "queue.options.token_file")
