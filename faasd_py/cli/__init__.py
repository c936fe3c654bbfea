"""A person's words become one call: the only room that prints. Each verb is a module that is imported when it is said.

main      words to verb, errors to one sentence, exit status
parser    every verb and option with its help
terminal  tables, progress
admin     the running daemon, over its private socket
"""

from __future__ import annotations

from collections.abc import Sequence


def main(words: Sequence[str] | None = None) -> int:
    """Run one verb; the exit status: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted."""
    from faasd_py.cli.main import main as run

    return run(words)
