"""Pure. What `/system/calls` and `/system/queue` offer, for the description of the API."""

from __future__ import annotations

from typing import Final

from faasd_py.control.operation import BINARY, Answer, Operation, Parameter, problems
from faasd_py.control.query import STATES
from faasd_py.control.views import CallList, CallView, Count, Done, Lane, QueueView, RequestView, ResultView

_FUNCTION: Final = Parameter(
    name="function", about="`NAME`, `NAME.NAMESPACE` or `callback:HOST:PORT`; all when it is left out."
)
_NAMESPACE: Final = Parameter(
    name="namespace", about="Of all its functions, or of the one that is named without it."
)
_STATE: Final = Parameter(name="state", about="In this state only.", values=STATES)
_LIMIT: Final = Parameter(name="limit", about="At most so many, 1 to 1000.", kind="integer")
_BEFORE: Final = Parameter(name="before", about="Older than the call of this id: `next` of the page before.")
_WHICH: Final = (_FUNCTION, _NAMESPACE, _LIMIT, _BEFORE)
_WAIT: Final = Parameter(
    name="wait",
    about="Answer when the call is over, or when this time is: a duration like `30s`, at most 10m.",
)
_CALL: Final = Parameter(name="call", about="A queue id, or an X-Call-Id: then the newest call of that one.")
_ONE: Final = "/system/calls/{call}"


_LATER: Final = {202: Answer("With `wait`: it is not over yet; the call as it stands.", CallView)}


def _get(path: str, name: str, about: str, answer: Answer, *refused: int) -> Operation:
    waits = not path.startswith(f"{_ONE}/request")
    return Operation(
        method="GET", path=path, name=name, about=about, scope="read",
        parameters=(_CALL, _WAIT) if waits else (_CALL,),
        answers={
            200: answer, **(_LATER if "/result" in path else {}), **problems(400, 404, 501, 503, *refused),
        },
    )  # fmt: skip


def _move(path: str, name: str, about: str) -> Operation:
    return Operation(
        method="DELETE" if path == _ONE else "POST", path=path, name=name, about=about, scope="admin",
        parameters=(_CALL,), answers={200: Answer("Done.", Done), **problems(400, 404, 409, 501, 503)},
    )  # fmt: skip


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/system/calls",
        name="listCalls",
        about="A page of calls, newest first.",
        scope="read",
        parameters=(_STATE, *_WHICH),
        answers={200: Answer("The page.", CallList), **problems(400, 501, 503)},
    ),
    _get(_ONE, "getCall", "A call with its attempts.", Answer("The call.", CallView)),
    _get(f"{_ONE}/request", "getRequest", "The call as it was put.", Answer("The request.", RequestView)),
    _get(f"{_ONE}/request/body", "getRequestBody", "Its body as it came.", Answer("It.", None, BINARY)),
    _get(f"{_ONE}/result", "getResult", "The last answer.", Answer("The answer.", ResultView)),
    _get(f"{_ONE}/result/body", "getResultBody", "Its body.", Answer("It.", None, BINARY), 409),
    _move(f"{_ONE}/requeue", "requeueCall", "Give a dead call another life."),
    _move(f"{_ONE}/cancel", "cancelCall", "Cancel a call, waiting or running."),
    _move(_ONE, "forgetCall", "Remove a call that is not running, with its result."),
    Operation(
        method="POST",
        path="/system/calls/requeue",
        name="requeueCalls",
        about="Requeue dead calls that match, up to the limit.",
        scope="admin",
        parameters=_WHICH,
        answers={200: Answer("How many.", Count), **problems(400, 501, 503)},
    ),
    Operation(
        method="POST",
        path="/system/calls/purge",
        name="purgeCalls",
        about="Remove calls that match, up to the limit; a state or a function must be named.",
        scope="admin",
        parameters=(_STATE, *_WHICH),
        answers={200: Answer("How many.", Count), **problems(400, 501, 503)},
    ),
    Operation(
        method="GET",
        path="/system/queue",
        name="getQueue",
        about="The figures of the queue and of each lane.",
        scope="read",
        answers={200: Answer("The figures.", QueueView)},
    ),
    *(
        Operation(
            method="POST",
            path=f"/system/queue/{{lane}}/{verb}",
            name=f"{verb}Lane",
            about=about,
            scope="admin",
            parameters=(Parameter(name="lane", about="`NAME`, `NAME.NAMESPACE` or `callback:HOST:PORT`."),),
            answers={200: Answer("So it is.", Lane), **problems(400, 404, 500)},
        )
        for verb, about in (
            (
                "pause",
                "Begin no call of a function any more; calls are accepted, and those that run are finished.",
            ),
            ("resume", "Let a function's calls go on."),
        )
    ),
)
