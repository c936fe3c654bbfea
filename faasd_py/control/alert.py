"""`POST /system/alert`: Prometheus' Alertmanager asks for more replicas, or for as few as before (OpenFaaS wire contract §1.4).

An alert that fires adds a part of the most replicas that there may be; any other status, `resolved`, goes back to the fewest
(`core/scaling.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from quart import Response, request
from quart_trio import QuartTrio

from faasd_py.control.bare_app import empty_answer
from faasd_py.control.daemon import Daemon
from faasd_py.control.detached import detached
from faasd_py.control.operation import Answer, Operation, refusals
from faasd_py.control.refused import Refused
from faasd_py.core.errors import CallerError, StoreFailed
from faasd_py.core.scaling import alerted

FIRING: Final = "firing"
FUNCTION: Final = "function_name"
"""The label of an alert that says whom it is about."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One of those that Alertmanager sends together."""

    status: str = ""
    labels: dict[str, str] = {}


class Alerts(msgspec.Struct, frozen=True, kw_only=True):
    """What Alertmanager sends to a webhook, as far as it is heeded; `status` is for those that have none of their own."""

    status: str = ""
    alerts: list[Alert] | None = None


OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/system/alert",
        name="alert",
        about="What Alertmanager sends: a function gets more replicas, or as few as before.",
        scope="admin",
        body=Alerts,
        answers={200: Answer("All alerts are heeded."), **refusals(400, 500)},
    ),
)


def add_alert(app: QuartTrio, daemon: Daemon) -> None:
    """The route."""

    @app.post("/system/alert")
    async def alert() -> Response:
        sent = _alerts(await request.get_data())
        wrong = await detached(app, lambda: _heed(daemon, sent))
        if wrong:
            raise Refused(500, "\n".join(wrong))
        return empty_answer(200)


def _alerts(body: str | bytes) -> Sequence[Alert]:
    if not body:
        raise Refused(400, "Unable to read alert.")
    try:
        sent = msgspec.json.decode(body, type=Alerts)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(400, "Unable to parse alert, bad format.") from None
    return [msgspec.structs.replace(one, status=one.status or sent.status) for one in sent.alerts or ()]


async def _heed(daemon: Daemon, alerts: Sequence[Alert]) -> list[str]:
    """Every alert, whatever becomes of the others; what went wrong, by the number of the alert."""
    wrong = []
    for number, one in enumerate(alerts):
        try:
            await _scale(daemon, one)
        except (CallerError, StoreFailed, ValueError) as error:
            wrong.append(f"[{number}] {error}")
    return wrong


async def _scale(daemon: Daemon, alert: Alert) -> None:
    name = alert.labels.get(FUNCTION, "")
    if not name:
        raise ValueError(f"the alert has no label {FUNCTION}")
    function = daemon.deployer.find(name, "")
    current = function.runtime.replicas().wanted
    wanted = alerted(function.settings.scaling(), current, firing=alert.status == FIRING)
    if wanted != current:
        await daemon.deployer.scale(function.label, "", wanted)
