"""What a person asks of the hub's queue, from here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import trio

from faasd_py.api import Call, Filter, Outcome, QueueUnavailable, Record, State
from faasd_py_nng.link import Link
from faasd_py_nng.pending import Pending, error_of
from faasd_py_nng.settings import SpokeOptions
from faasd_py_nng.wire import Ask, Failed, Value


class Inspection:
    """Requests with a time-out; each sees what was settled before it."""

    _link: Link
    _options: SpokeOptions

    def _check_up(self) -> None:
        raise NotImplementedError

    async def _settled(self) -> None:
        raise NotImplementedError

    async def _answer(self, pending: Pending) -> object:
        raise NotImplementedError

    async def _ask(self, kind: Any, what: str, **fields: Any) -> Any:
        self._check_up()
        with trio.move_on_after(float(self._options.ask_timeout)):
            await self._settled()
            pending = self._link.submit(lambda number: Ask(number, what, **fields), slow=True)
            answer = await self._answer(pending)
            if isinstance(answer, Failed):
                raise error_of(answer)
            if isinstance(answer, Value):
                return _decode(pending.document or answer.value, kind)
        raise QueueUnavailable(f"the hub at {self._options.hub} did not answer in time")

    async def _state(self, what: str, call: str) -> State | None:
        state: State | None = await self._ask(State | None, what, call=call[:512])
        return state

    async def cancel(self, call: str) -> State | None:
        """See `Queue.cancel`."""
        return await self._state("cancel", call)

    async def requeue(self, call: str) -> State | None:
        """See `Queue.requeue`."""
        return await self._state("requeue", call)

    async def forget(self, call: str) -> State | None:
        """See `Queue.forget`."""
        return await self._state("forget", call)

    async def find(self, call: str) -> Record | None:
        """See `Queue.find`."""
        found: Record | None = await self._ask(Record | None, "find", call=call[:512])
        return found

    async def records(self, which: Filter, limit: int = 100) -> Sequence[Record]:
        """See `Queue.records`."""
        found: list[Record] = await self._ask(list[Record], "records", **_which(which), limit=limit)
        return found

    async def request(self, call: str) -> Call | None:
        """See `Queue.request`; a large body's path is one on the hub's machine."""
        found: Call | None = await self._ask(Call | None, "request", call=call[:512])
        return found

    async def result(self, call: str) -> Outcome | None:
        """See `Queue.result`."""
        found: Outcome | None = await self._ask(Outcome | None, "result", call=call[:512])
        return found

    async def requeue_all(self, which: Filter, limit: int = 1000) -> int:
        """See `Queue.requeue_all`."""
        count: int = await self._ask(int, "requeue_all", **_which(which), limit=limit)
        return count

    async def purge(self, which: Filter, limit: int = 1000) -> int:
        """See `Queue.purge`."""
        count: int = await self._ask(int, "purge", **_which(which), limit=limit)
        return count


def _which(which: Filter) -> dict[str, Any]:
    return {
        "lane": None if which.lane is None else which.lane[:512],
        "state": None if which.state is None else int(which.state),
        "before": None if which.before is None else which.before[:512],
    }


def _decode(data: bytes, kind: Any) -> Any:
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise QueueUnavailable(f"the hub's answer makes no sense: {error}") from error
