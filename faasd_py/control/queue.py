"""`/system/queue`: the figures of the queue and of each lane; pausing a lane, and letting it go on.

GET  /system/queue
POST /system/queue/LANE/pause  /system/queue/LANE/resume

LANE is `NAME`, `NAME.NAMESPACE` or `callback:HOST:PORT`. What is paused accepts calls and begins none; what runs is finished.
"""

from __future__ import annotations

import time
from typing import Final

from quart import Response
from quart_trio import QuartTrio

from faasd_py.control import query, rendering
from faasd_py.control.daemon import Daemon
from faasd_py.control.detached import detached
from faasd_py.control.problems import json_answer
from faasd_py.control.refused import Refused
from faasd_py.control.steps import in_steps
from faasd_py.control.views import Lane, LaneView

AT_ONCE: Final = 50
"""So many lanes are looked at in one step of the loop."""


def add_queue(app: QuartTrio, daemon: Daemon) -> None:
    """The routes."""

    @app.get("/system/queue")
    async def show_queue() -> Response:
        queue, backend, now = daemon.queue, daemon.config.queue.backend, time.time()
        about = rendering.LanesAbout(
            groups=daemon.metrics.queues,
            paused=daemon.workers.paused.since(),
            rates=daemon.metrics.flow.rates(now),
        )
        stats, lanes = queue.stats(), list[LaneView]()
        async for some in in_steps(rendering.lane_views(stats, now, about), AT_ONCE):
            lanes += some
        view = rendering.queue_view(backend, queue.capabilities, stats, queue.trouble(), now, lanes)
        return json_answer(view)

    @app.post("/system/queue/<lane>/pause")
    async def pause_lane(lane: str) -> Response:
        name = _known(daemon, lane)
        await detached(app, lambda: daemon.workers.pause(name))
        return json_answer(Lane(function=name, paused=True, shared=daemon.queue.capabilities.shared))

    @app.post("/system/queue/<lane>/resume")
    async def resume_lane(lane: str) -> Response:
        name = _known(daemon, lane)
        await detached(app, lambda: daemon.workers.resume(name))
        return json_answer(Lane(function=name, paused=False, shared=daemon.queue.capabilities.shared))


def _known(daemon: Daemon, text: str) -> str:
    """The lane: of a function that is there, or with calls in the queue, or paused.

    Raises:
        Refused: there is no such lane.
    """
    try:
        name = query.lane(text, daemon.config.gateway.namespace) or ""
    except ValueError as error:
        raise Refused(400, str(error)) from None
    functions = {function.label for function in daemon.registry.functions()}
    if name in functions or name in daemon.workers.paused or name in daemon.queue.stats().lanes:
        return name
    raise Refused(404, f"there is neither a function {name[:80]} nor a call for it")
