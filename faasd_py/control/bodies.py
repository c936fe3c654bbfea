"""A kept body as an answer; a spooled one is read piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import trio
from quart import Response

from faasd_py.control.refused import Refused
from faasd_py.core.call import Body, Spooled

PIECE: Final = 256 * 1024
BINARY: Final = "application/octet-stream"


async def body_response(body: Body) -> Response:
    """The body as it is, whatever it is."""
    if not isinstance(body, Spooled):
        return Response(body, 200, content_type=BINARY)
    try:
        file = await trio.open_file(body.path, "rb")
    except FileNotFoundError:
        raise Refused(404, "the body is no longer kept") from None
    response = Response(_pieces(file), 200, content_type=BINARY)
    response.content_length = body.size
    return response


async def _pieces(file: trio._file_io.AsyncIOWrapper) -> AsyncIterator[bytes]:  # type: ignore[type-arg,name-defined,unused-ignore]
    async with file:
        while piece := await file.read(PIECE):
            yield piece
