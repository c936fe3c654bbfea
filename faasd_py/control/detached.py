"""Work that is not to be broken off because the one who asked for it hung up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
from quart_trio import QuartTrio

_Result = TypeVar("_Result")


async def detached(app: QuartTrio, work: Callable[[], Awaitable[_Result]]) -> _Result:
    """What `work` returns or raises. It runs beside the request: only the end of the control plane cancels it."""
    results: list[_Result] = []
    errors: list[Exception] = []
    done = trio.Event()

    async def run() -> None:
        try:
            results.append(await work())
        except Exception as error:  # noqa: BLE001  # raised where it is waited for
            errors.append(error)
        finally:
            done.set()

    app.nursery.start_soon(run)
    await done.wait()
    if errors:
        raise errors[0]
    return results[0]
