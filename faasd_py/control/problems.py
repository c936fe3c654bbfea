"""Errors as answers: OpenFaaS' routes say them as one line of text (wire contract §1.0), ours as `{"error": sentence}`."""

from __future__ import annotations

import math
from typing import Final

import msgspec
from quart import Response, request
from quart_trio import QuartTrio

from faasd_py.control.bare_app import text_answer
from faasd_py.control.refused import Refused
from faasd_py.control.views import Problem
from faasd_py.core.errors import CallerError, QueueError, StoreFailed

OURS: Final = ("/system/calls", "/system/queue", "/system/events", "/system/reload", "/system/tokens")
"""Paths that OpenFaaS does not have."""


def add_problems(app: QuartTrio) -> None:
    """Whatever the rooms refuse is answered with its status and its sentence."""
    for kind in (Refused, CallerError, QueueError, StoreFailed):
        app.register_error_handler(kind, _answer)


async def _answer(error: Refused | CallerError | QueueError | StoreFailed) -> Response:
    response = problem(error.status, str(error))
    wait = getattr(error, "retry_after", None)
    if wait is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(wait)))
    return response


def problem(status: int, sentence: str) -> Response:
    """The answer that says why not, as the path of this request has it."""
    if request.path.startswith(OURS):
        return json_answer(Problem(error=sentence), status)
    return text_answer(status, f"{sentence}\n")


def json_answer(answer: object, status: int = 200) -> Response:
    """A Struct, or a list of them, as JSON."""
    return Response(msgspec.json.encode(answer), status, content_type="application/json")
