"""Whether whoever asks may: the door knows who it is (`gateway/gate.py`), the table of operations what it needs.

On `control.sock` alone; who may open `admin.sock` is up to the file system. A route that no table has is an administrator's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from quart import Response, request
from quart_trio import QuartTrio

from faasd_py.auth.identity import FIELD, Identity
from faasd_py.auth.scopes import ADMIN
from faasd_py.control.openapi import OPERATIONS
from faasd_py.control.problems import problem

OPEN: Final = "open"
_UNDESCRIBED: Final = {("GET", "/"): OPEN, ("GET", "/metrics"): OPEN}
"""What OpenFaaS asks nobody for, either (wire contract §1.1)."""
_PARAMETER: Final = re.compile(r"<(?:\w+:)?(\w+)>")


def add_auth(app: QuartTrio, failed: Callable[[str], None]) -> None:
    """Every route but the open ones needs somebody whom the door recognised, with the scope that the table says."""
    scopes: dict[tuple[str, str], str] = {
        **_UNDESCRIBED,
        **{(operation.method, operation.path): operation.scope for operation in OPERATIONS},
    }

    @app.before_request
    async def check() -> Response | None:
        if request.url_rule is None:
            return None
        path = _PARAMETER.sub(r"{\1}", request.url_rule.rule)
        return _refusal(scopes.get((request.method, path), ADMIN), failed)


def _refusal(needed: str, failed: Callable[[str], None]) -> Response | None:
    if needed == OPEN:
        return None
    who = Identity.parse(request.headers.get(FIELD))
    if who is None:
        return problem(401, "invalid credentials")
    if who.may(needed):
        return None
    failed("scope")
    held = " and ".join(sorted(who.scopes))
    return problem(403, f"insufficient scope: this needs {needed}, {who.name} has {held}")
