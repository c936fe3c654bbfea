"""`POST /system/reload`: the configuration is read again."""

from __future__ import annotations

from typing import Final

import msgspec
from quart import Response
from quart_trio import QuartTrio

from faasd_py.control.daemon import Daemon
from faasd_py.control.detached import detached
from faasd_py.control.operation import Answer, Operation, problems
from faasd_py.control.problems import json_answer
from faasd_py.control.refused import Refused


class Reloaded(msgspec.Struct, frozen=True):
    """It is in force."""

    reloaded: bool


OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/system/reload",
        name="reload",
        about="Read the configuration again, as SIGHUP does, and wait until it is in force.",
        scope="admin",
        answers={200: Answer("It is in force.", Reloaded), **problems(422)},
    ),
)


def add_reload(app: QuartTrio, daemon: Daemon) -> None:
    """The route."""

    @app.post("/system/reload")
    async def reload() -> Response:
        if reason := await detached(app, daemon.reload):
            raise Refused(422, reason)
        return json_answer(Reloaded(reloaded=True))
