"""What is taken from a server's INFO. Pure and total: a field of the wrong kind counts as not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Self

MAX_PAYLOAD: Final = 1024 * 1024
"""What a server takes that names no limit."""


@dataclass(slots=True, frozen=True)
class ServerInfo:
    """The server as it describes itself, by the names it uses; sizes in bytes. `ldm` is lame duck mode."""

    server_id: str = ""
    server_name: str = ""
    version: str = ""
    cluster: str = ""
    max_payload: int = MAX_PAYLOAD
    headers: bool = False
    jetstream: bool = False
    auth_required: bool = False
    tls_required: bool = False
    tls_available: bool = False
    ldm: bool = False
    client_id: int = 0
    client_ip: str = ""
    connect_urls: tuple[str, ...] = ()

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """From the JSON object of an INFO line."""
        values = {f.name: told[f.name] for f in fields(cls) if type(told.get(f.name)) is type(f.default)}
        if values.get("max_payload", 1) < 1:
            del values["max_payload"]
        urls = told.get("connect_urls")
        if isinstance(urls, list):
            values["connect_urls"] = tuple(url for url in urls if isinstance(url, str))
        return cls(**values)
