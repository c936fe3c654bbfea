"""What one daemon confines its functions with: what this machine can enforce, the control groups, what is closed to all."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from faasd_py.hookspecs import RuntimeSite
from faasd_py.runtime.confine import bounds, cgroup, host
from faasd_py.runtime.confine.bounds import Bounds
from faasd_py.runtime.confine.cgroup import Group, Subtree
from faasd_py.runtime.confine.host import Host

log: Final = logging.getLogger("faasd_py.runtime")


class Confiner:
    """`open_confiner` makes it. `host` is the truth of this process, not of what it might be."""

    def __init__(self, host: Host, subtree: Subtree | None = None, closed: Iterable[Path] = ()) -> None:
        self.host = host
        self.subtree = subtree
        self.closed = list(closed)
        self._number = 0

    def bounds(self, site: RuntimeSite) -> Bounds | None:
        """The bounds of a function's processes; None when it asks for none."""
        return bounds.bounds_of(site, self.host, self.closed)

    def group(self, wanted: Bounds) -> Group | None:
        """A control group for it; None where there are none, and then no limit of it needs one.

        Raises:
            OSError: it cannot be made.
        """
        if self.subtree is None:
            return None
        self._number += 1
        return self.subtree.group(f"{wanted.name}.{self._number}", wanted.limits)

    def report(self) -> None:
        """Say in the log what cannot be enforced here."""
        lacking = [f"{what} ({why})" for what, can, why in self.host.rows() if can == "no"]
        log.info(
            "confinement: %s", f"without {'; '.join(lacking)}" if lacking else "all of it can be enforced"
        )

    def close(self) -> None:
        """Every group of it is gone by now."""
        if self.subtree is not None:
            self.subtree.close()


@contextmanager
def open_confiner(state: Path, closed: Iterable[Path]) -> Iterator[Confiner]:
    """The confiner of the daemon whose state directory this is; `closed` are paths that no confined function sees."""
    subtree, reason = _open_subtree(state)
    known = host.with_groups(host.without_groups(), subtree.controllers if subtree else set(), reason)
    confiner = Confiner(known, subtree, closed)
    try:
        yield confiner
    finally:
        confiner.close()


def _open_subtree(state: Path) -> tuple[Subtree | None, str]:
    place = cgroup.survey(str(state.absolute()))
    if place.path is None:
        return None, place.reason
    try:
        return Subtree.open(place), ""
    except OSError as error:
        return None, f"{place.path}: {error.strerror}"


def hand_over(site: RuntimeSite, wanted: Bounds | None) -> None:
    """Give a function's private directory to its user, and let that user get there.

    Raises:
        OSError: it cannot be done.
    """
    if wanted is None or wanted.identity is None:
        return
    user, group, _ = wanted.identity
    for path in (site.directory, *site.directory.rglob("*")):
        os.chown(path, user, group, follow_symlinks=False)
    for parent in (site.directory.parent, site.directory.parent.parent):
        with suppress(OSError):
            parent.chmod(parent.stat().st_mode | 0o011)
