"""What the functions of a mode share: opened once before them, with the plug-in's options, closed after them."""

import sys
import textwrap
from contextlib import asynccontextmanager
from types import SimpleNamespace

import msgspec
import pytest

from faasd_py.config import Config, FunctionSettings, StateSettings
from faasd_py.core.errors import BootError, ConfigError
from faasd_py.daemon import main as boot
from faasd_py.daemon.modes import open_modes
from faasd_py.hookspecs import RuntimeSite
from faasd_py.plugins import Mode


def configuration(tmp_path, **runtimes):
    return Config(state=StateSettings(directory=str(tmp_path / "state")), runtimes=runtimes)


def site(tmp_path):
    return RuntimeSite(
        name="f", namespace="n", settings=FunctionSettings(), directory=tmp_path, secrets=tmp_path, log=None
    )


async def test_shared_is_opened_once_and_closed_last(tmp_path):
    """Two modes of a plug-in with one `open_shared` share it; a directory of its own survives."""
    seen = []

    @asynccontextmanager
    async def open_shared(options, directory):
        assert directory.is_dir()
        seen.append((dict(options), directory))
        yield SimpleNamespace(of="boxes")
        seen.append("closed")

    modes = {
        "a": Mode("boxes", lambda site: site, open_shared),
        "b": Mode("boxes", lambda site: site, open_shared),
        "c": Mode("plain", lambda site: site),
    }
    async with open_modes(modes, configuration(tmp_path, boxes={"socket": "x"})) as opened:
        a, b, c = (opened[name](site(tmp_path)) for name in "abc")
        assert a.shared is b.shared
        assert a.shared.of == "boxes"
        assert a.options == b.options == {"socket": "x"}
        assert (c.shared, c.options) == (None, {})
        assert msgspec.structs.replace(a, options={}, shared=None) == site(tmp_path)
    assert seen == [({"socket": "x"}, tmp_path / "state" / "runtimes" / "boxes"), "closed"]


async def test_a_failure_to_open_closes_what_was_opened(tmp_path):
    """What `open_shared` raises comes out as it is."""
    seen = []

    @asynccontextmanager
    async def first(_options, _directory):
        try:
            yield
        finally:
            seen.append("closed")

    def second(_options, _directory):
        raise ConfigError("runtimes.b.socket: expected a path")

    modes = {"a": Mode("a", None, first), "b": Mode("b", None, second)}
    with pytest.raises(ConfigError, match=r"^runtimes\.b\.socket: expected a path$"):
        async with open_modes(modes, configuration(tmp_path)):
            pytest.fail("opened")
    assert seen == ["closed"]


async def test_a_directory_that_cannot_be_made(tmp_path):
    """Is said with its path."""
    (tmp_path / "state").write_text("")
    with pytest.raises(BootError, match=r"state/runtimes/a: cannot be made: Not a directory"):
        async with open_modes({"a": Mode("a", None, max)}, configuration(tmp_path)):
            pytest.fail("opened")


@pytest.mark.parametrize(
    ("error", "status"), [("ConfigError", 2), ("PluginError", 2), ("BootError", 1), ("QueueError", 1)]
)
def test_what_keeps_the_daemon_from_starting_is_one_sentence(tmp_path, monkeypatch, capfd, error, status):
    """The whole start, with a plug-in whose shared part cannot be had: exit status 2 when it is the user's to mend."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "plugin_boxes", raising=False)
    (tmp_path / "plugin_boxes.py").write_text(
        textwrap.dedent(f"""
        from faasd_py.api import hookimpl
        from faasd_py.core.errors import {error}

        def open_shared(options, directory):
            raise {error}("podman is not installed")

        @hookimpl
        def faasd_py_register_runtimes(register):
            register("box", None, open_shared)
        """)
    )
    info = tmp_path / "faasd_py_boxes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faasd-py-boxes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[faasd_py]\nboxes = plugin_boxes\n")
    path = tmp_path / "config.toml"
    path.write_text(
        f"plugins = ['boxes']\n[queue]\nbackend = 'memory'\n[gateway]\nlisten = ['unix:{tmp_path}/door']\n"
        f"[metrics]\nlisten = []\n"
        f"[state]\ndirectory = '{tmp_path}/state'\nruntime_directory = '{tmp_path}/run'\n"
    )
    assert boot.main(path) == status
    assert capfd.readouterr().err.splitlines()[-1] == "faasd-py: podman is not installed"
