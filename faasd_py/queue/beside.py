"""Tasks beside a body of code, for as long as the body runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def tasks_beside() -> AsyncIterator[trio.Nursery]:
    """A nursery whose tasks end with the body. What the body raises comes out as it is, not in a group.

    Raises:
        ExceptionGroup: a task failed; the body was cancelled.
    """
    raised: BaseException | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        except BaseException as error:  # noqa: BLE001 - raised again below, whatever it is
            raised = error
        nursery.cancel_scope.cancel()
    if raised is not None:
        raise raised
