"""Whole daemons: one offers its queue, the others are its spokes."""

from __future__ import annotations

from pathlib import Path

from tests.house.daemon import Daemon


def below(root: Path, name: str) -> Path:
    (root / name).mkdir()
    return root / name


def hub_tables(root: Path, **options):
    service = {"listen": [f"ipc://{root}/hub.ipc"], "lease_timeout": "2s"} | options
    return {"plugins": ["nng-hub"], "services": {"nng-hub": service}}


def spoke_tables(root: Path, lanes: list[str], **options):
    return {
        "queue": {"backend": "nng", "options": {"hub": f"ipc://{root}/hub.ipc", "lanes": lanes} | options}
    }


def daemon(root: Path, functions, tables):
    """A daemon with a top-level list of plug-ins."""
    plugins = tables.pop("plugins", None)
    made = Daemon(root, functions, **tables)
    if plugins:
        made.tables = {"plugins": plugins} | made.tables
        made.write()
    return made
