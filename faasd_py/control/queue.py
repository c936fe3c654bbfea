"""`/system/queue`: the figures of the queue and of each lane."""

from __future__ import annotations

import time

from quart import Response
from quart_trio import QuartTrio

from faasd_py.control import rendering
from faasd_py.control.daemon import Daemon
from faasd_py.control.problems import json_answer


def add_queue(app: QuartTrio, daemon: Daemon) -> None:
    """The routes."""

    @app.get("/system/queue")
    async def show_queue() -> Response:
        queue, backend = daemon.queue, daemon.config.queue.backend
        view = rendering.queue_view(
            backend, queue.capabilities, queue.stats(), queue.trouble(), time.time(), daemon.metrics.queues
        )
        return json_answer(view)
