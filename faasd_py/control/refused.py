"""Why the control plane does not do what it was asked."""

from __future__ import annotations

from faasd_py.core.errors import FaasdError


class Refused(FaasdError):
    """Why not, in one sentence; `status` is the answer."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
