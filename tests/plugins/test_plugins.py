"""Plug-ins as pip leaves them: found by entry point, loaded only when named, blamed by name."""

import sys
import textwrap
from types import SimpleNamespace

import pytest

from faasd_py import plugins
from faasd_py.config import Config, FunctionSettings, QueueSettings
from faasd_py.core.errors import PluginError

QUEUE = """
    from faasd_py.api import Capabilities, hookimpl

    @hookimpl
    def faasd_py_register_queues(register):
        register("{name}", lambda site: None, Capabilities(durable=False))
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution with one plug-in module, as pip would: a module, and metadata with its entry point."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install_one(name, source):
        module = f"plugin_{name.replace('-', '_')}"
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        info = tmp_path / f"faasd_py_{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: faasd-py-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[faasd_py]\n{name} = {module}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)

    return install_one


def config(*names, backend="memory"):
    return Config(plugins=list(names), queue=QueueSettings(backend=backend))


def test_the_built_in_ones_come_through_the_same_hooks():
    """Backends and modes that need no installation."""
    loaded = plugins.load(config())
    assert {"fork", "stream", "http", "url"} <= loaded.modes.keys()
    assert loaded.queue(config()).plugin == "memory"


def test_only_what_is_named_is_loaded(install):
    """An installed plug-in that nobody names cannot break the start, even if it cannot be imported."""
    install("broken", "raise RuntimeError('at import')")
    assert plugins.load(config()).queues.keys() == {"memory"}
    assert "broken" in plugins.installed()


def test_a_backend_is_loaded_by_its_own_name(install):
    """`backend = "other"` needs no word in `plugins`."""
    install("other", QUEUE.format(name="other"))
    loaded = plugins.load(config(backend="other"))
    assert loaded.queue(config(backend="other")).plugin == "other"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise RuntimeError('at import')", ["cannot be loaded", "RuntimeError: at import"]),
        ("import no_such_module_at_all", ["cannot be loaded", "no_such_module_at_all"]),
        (
            "from faasd_py.api import hookimpl\n@hookimpl\ndef faasd_py_register_queus(register): pass",
            ["hook that does not exist", "faasd_py_register_queus"],
        ),
        (
            "from faasd_py.api import hookimpl\n@hookimpl\ndef faasd_py_register_queues(register): 1 / 0",
            ["failed in faasd_py_register_queues", "ZeroDivisionError"],
        ),
        (
            "from faasd_py.api import hookimpl\n@hookimpl\ndef faasd_py_register_queues(registrar): pass",
            ["does not fit"],
        ),
        ("api_version = 99", ["api_version 99", "upgrade faasd-py"]),
        ("api_version = 'one'", ["api_version one"]),
        (QUEUE.format(name="memory"), ["'memory'", "both register the queue backend"]),
    ],
)
def test_what_is_wrong_with_a_plugin_is_one_sentence_with_its_name(install, source, words):
    """Broken, misspelt, raising, too new or taking a taken name: the start stops and says which plug-in it is."""
    install("odd", source)
    with pytest.raises(PluginError) as caught:
        plugins.load(config("odd"))
    assert "odd" in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_what_is_not_installed_says_how_to_install_it():
    """A name that nobody has is a missing package or a typing error."""
    with pytest.raises(PluginError, match="'nats' is not installed: faasd-py plugins install nats"):
        plugins.load(config("nats"))


def test_a_plugin_without_the_backend_it_is_named_for(install):
    """`backend = "quiet"` loads the plug-in quiet; that it registers no such backend is said."""
    install("quiet", "api_version = 1")
    wanted = config(backend="quiet")
    with pytest.raises(PluginError, match=r"queue\.backend: plug-in 'quiet' registers no queue backend"):
        plugins.load(wanted).queue(wanted)


def test_modes_and_services_must_be_there():
    """A function's mode and a service's table name what some plug-in registers."""
    loaded = plugins.load(config())
    loaded.check_modes({"a": FunctionSettings(command=["cat"])})
    with pytest.raises(PluginError, match=r"functions\.box: nothing here runs mode 'image'"):
        loaded.check_modes({"box": FunctionSettings(image="box:1")})
    with pytest.raises(PluginError, match=r"services\.hub: "):
        loaded.check_services(["hub"])


def test_a_table_of_options_needs_its_plug_in(install):
    """`[runtimes.NAME]` names a plug-in that is loaded and registers a mode."""
    install(
        "boxes",
        """
        from faasd_py.api import hookimpl

        @hookimpl
        def faasd_py_register_runtimes(register):
            register("box", None, open_shared=max)
        """,
    )
    with pytest.raises(PluginError, match=r"runtimes\.boxes: no plug-in of that name in plugins"):
        plugins.load(config()).check_runtimes(["boxes"])
    loaded = plugins.load(config("boxes"))
    loaded.check_runtimes(["boxes"])
    assert loaded.modes["box"].open_shared is max
    with pytest.raises(PluginError, match=r"runtimes\.box: "):
        loaded.check_runtimes(["box"])


def test_services_and_observers_are_collected(install):
    """A plug-in may run a task, and be told of events."""
    install(
        "both",
        """
        from faasd_py.api import hookimpl

        seen = []

        async def run(site, task_status): ...

        @hookimpl
        def faasd_py_register_services(register):
            register("hub", run)

        @hookimpl
        def faasd_py_observe(event):
            seen.append(event)
        """,
    )
    loaded = plugins.load(config("both"))
    loaded.check_services(["hub"])
    ((name, observe),) = loaded.observers
    observe(SimpleNamespace())
    assert name == "both"
    assert len(sys.modules["plugin_both"].seen) == 1
