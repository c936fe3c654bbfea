"""Pure. What a credential may do: call functions, look at the control plane, change it.

    invoke   functions that ask for it (`auth = true`)
    read     GET below /system and /ui
    admin    everything there, `read` included

`invoke` stands apart: who deploys need not be who calls.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

INVOKE: Final = "invoke"
READ: Final = "read"
ADMIN: Final = "admin"
SCOPES: Final = (INVOKE, READ, ADMIN)


def allows(scopes: Collection[str], needed: str) -> bool:
    """Whether these scopes are enough where `needed` is asked for."""
    return needed in scopes or (needed == READ and ADMIN in scopes)


def check(scopes: Collection[str]) -> None:
    """There is at least one scope, and each is known.

    Raises:
        ValueError: one sentence saying what was expected.
    """
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        got = f'"{unknown[0][:40]}"' if unknown else "none"
        raise ValueError(f"expected scopes out of {', '.join(SCOPES)}, got {got}")
