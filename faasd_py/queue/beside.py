"""One task beside a body of code, for as long as the body runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def beside(task: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run the task until the body ends. What the body raises comes out as it is, not in a group.

    Raises:
        ExceptionGroup: the task failed; the body was cancelled.
    """
    raised: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task)
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - raised again below, whatever it is
            raised = error
        nursery.cancel_scope.cancel()
    if raised is not None:
        raise raised
