"""The modes in which functions run here, each with its plug-in's options and what its functions share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from faasd_py.config import Config
from faasd_py.core.errors import BootError
from faasd_py.hookspecs import RuntimeSite
from faasd_py.plugins import Mode
from faasd_py.runtime.contract import OpenRuntime

OpenMode = Callable[[RuntimeSite], OpenRuntime]


@asynccontextmanager
async def open_modes(modes: Mapping[str, Mode], config: Config) -> AsyncIterator[dict[str, OpenMode]]:
    """The modes by name. What is shared is opened once for each `open_shared`, and closed when the block ends.

    Raises:
        BootError: the directory of a plug-in cannot be made.
        Exception: what `open_shared` raises.
    """
    shared: dict[Any, Any] = {}
    async with AsyncExitStack() as stack:
        for mode in modes.values():
            if mode.open_shared is None or mode.open_shared in shared:
                continue
            options = config.runtimes.get(mode.plugin, {})
            directory = _directory(Path(config.state.directory) / "runtimes" / mode.plugin)
            shared[mode.open_shared] = await stack.enter_async_context(mode.open_shared(options, directory))
        yield {
            name: partial(
                _open, mode.open, config.runtimes.get(mode.plugin, {}), shared.get(mode.open_shared)
            )
            for name, mode in modes.items()
        }


def _open(open_mode: OpenMode, options: Mapping[str, Any], shared: Any, site: RuntimeSite) -> OpenRuntime:
    return open_mode(msgspec.structs.replace(site, options=options, shared=shared))


def _directory(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BootError(f"{path}: cannot be made: {error.strerror}") from error
    return path
