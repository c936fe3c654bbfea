"""`DELETE /async-function/CALL_ID`, whatever the queue finds."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from faasd_py.core.lifecycle import State
from faasd_py.gateway.cancel import Cancel


class Queue:
    """Finds every call in one state."""

    def __init__(self, state: State | None, *, able: bool = True) -> None:
        self.state = state
        self.capabilities = SimpleNamespace(cancel=able)

    async def cancel(self, call: str) -> State | None:
        return self.state


async def answer(queue: Queue, *, stops: bool = False) -> tuple[int, bytes]:
    """Status and body."""
    answers = []

    async def take(status: int, headers: bytes, body: bytes) -> None:
        answers.append((status, body))

    await Cancel(queue, lambda call: stops, SimpleNamespace(functions=list))(
        SimpleNamespace(answer=take, plan=SimpleNamespace(name=b"my-call"))
    )
    return answers[0]


@pytest.mark.parametrize("state", [State.READY, State.DELAYED, State.DEAD])
async def test_what_waits_or_is_dead_is_cancelled(state):
    """202 without a body: the queue has done it."""
    assert await answer(Queue(state)) == (202, b"")


async def test_what_runs_is_stopped():
    """202 when a worker has it; 409 when it has finished in this moment."""
    assert await answer(Queue(State.LEASED), stops=True) == (202, b"")
    assert await answer(Queue(State.LEASED)) == (409, b"call my-call is already finished\n")


@pytest.mark.parametrize("state", [State.DONE, State.CANCELLED])
async def test_what_is_over_is_too_late(state):
    """409."""
    assert await answer(Queue(state), stops=True) == (409, b"call my-call is already finished\n")


async def test_what_nobody_knows_is_not_found():
    """404."""
    assert await answer(Queue(None)) == (404, b"call my-call not found\n")


async def test_a_queue_that_cannot_says_so():
    """501, and it is not asked."""
    assert await answer(Queue(None, able=False)) == (501, b"this queue cannot cancel calls\n")
