"""An empty app that answers unknown paths and wrong methods as OpenFaaS does (wire contract §1.0)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

NOT_FOUND: Final = "404 page not found\n"
NO_PAGES: Final = (
    "there are no web pages here: use faasd-py, faas-cli, or the REST API (/system/openapi.json)\n"
)
"""Below /ui, where OpenFaaS has its own."""
MAX_BODY: Final = 1 << 20
_log: Final = logging.getLogger("faasd_py.control")


def bare_app(name: str) -> QuartTrio:
    """404 with one line; 405 without a body and without Allow; whatever a handler raises is logged and a 500."""
    # its own root, or it would ask for the working directory, which may be gone
    app = QuartTrio(f"faasd_py.control.{name}", static_folder=None, root_path=str(Path(__file__).parent))
    app.config.update(
        RESPONSE_TIMEOUT=None,
        MAX_CONTENT_LENGTH=MAX_BODY,
        PROVIDE_AUTOMATIC_OPTIONS=False,
        PROPAGATE_EXCEPTIONS=False,
    )
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.before_request(_only_named_methods)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _broken)
    return app


async def _only_named_methods() -> Response | None:
    """HEAD comes with every GET in this framework; OpenFaaS answers it 405."""
    return _wrong_method() if request.method == "HEAD" and request.url_rule is not None else None


async def _http(error: HTTPException) -> Response:
    if error.code == 405:
        return _wrong_method()
    if error.code == 404:
        return text_answer(404, NO_PAGES if f"{request.path}/".startswith("/ui/") else NOT_FOUND)
    return text_answer(error.code or 500, f"{error.name.lower()}\n")


async def _broken(error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.path, exc_info=error)
    return text_answer(500, "internal error: see the daemon's log\n")


def _wrong_method() -> Response:
    return empty_answer(405)


def empty_answer(status: int) -> Response:
    """A status and nothing else."""
    response = Response("", status)
    del response.headers["Content-Type"]
    return response


def text_answer(status: int, body: str) -> Response:
    """What OpenFaaS calls a plain error; `body` ends with its newline."""
    headers = {"X-Content-Type-Options": "nosniff"}
    return Response(body, status, headers, content_type="text/plain; charset=utf-8")
