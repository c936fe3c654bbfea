"""Pure. What a verb raises when it cannot do what was asked."""

from __future__ import annotations

from collections.abc import Sequence

from faasd_py.core.errors import FaasdError


class Failed(FaasdError):
    """It went wrong: exit status 1. Usually one sentence; several when each is about something else."""

    def __init__(self, *sentences: str) -> None:
        super().__init__("; ".join(sentences))
        self.sentences: Sequence[str] = sentences


class Usage(Failed):
    """The words or the configuration are wrong: exit status 2."""
