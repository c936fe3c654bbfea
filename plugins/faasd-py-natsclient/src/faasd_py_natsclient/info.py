"""What is taken from a server's INFO. Pure and total: a field of the wrong kind counts as not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(slots=True, frozen=True)
class ServerInfo:
    """The server as it describes itself; sizes in bytes."""

    server_id: str = ""
    server_name: str = ""
    version: str = ""
    cluster: str = ""
    max_payload: int = 1024 * 1024
    headers: bool = False
    jetstream: bool = False
    auth_required: bool = False
    tls_required: bool = False
    tls_available: bool = False
    lame_duck: bool = False
    client_id: int = 0
    client_ip: str = ""
    connect_urls: tuple[str, ...] = ()

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """From the JSON object of an INFO line."""

        def take(name: str, kind: type, default: Any) -> Any:
            value = fields.get(name)
            return value if type(value) is kind else default

        urls = take("connect_urls", list, [])
        return cls(
            server_id=take("server_id", str, ""),
            server_name=take("server_name", str, ""),
            version=take("version", str, ""),
            cluster=take("cluster", str, ""),
            max_payload=max(0, take("max_payload", int, 0)) or cls.max_payload_default(),
            headers=take("headers", bool, False),
            jetstream=take("jetstream", bool, False),
            auth_required=take("auth_required", bool, False),
            tls_required=take("tls_required", bool, False),
            tls_available=take("tls_available", bool, False),
            lame_duck=take("ldm", bool, False),
            client_id=take("client_id", int, 0),
            client_ip=take("client_ip", str, ""),
            connect_urls=tuple(url for url in urls if isinstance(url, str)),
        )

    @staticmethod
    def max_payload_default() -> int:
        """A server that names no limit has the usual one: 1 MiB."""
        return 1024 * 1024
