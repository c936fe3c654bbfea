"""What time does: calls become due, puts expire, figures are put right, the journal is kept small, old calls are moved."""

from __future__ import annotations

import logging
from typing import Final

import trio

from faasd_py_nats_streaming.entry import Entry, Phase
from faasd_py_nats_streaming.journal import Known, Place
from faasd_py_nats_streaming.parts import Parts
from faasd_py_nats_streaming.work import Work

log: Final = logging.getLogger("faasd_py_nats_streaming")
ROUND: Final = 0.25
"""Seconds between two looks."""
SLOW: Final = 4
"""The dearer things are looked at every so many rounds."""
QUIET: Final = 5
"""Seconds that a message may be under way to us."""
NEAR: Final = 0.9
"""Calls are refused when so much of what the server keeps lies behind our oldest call."""
HALF: Final = 0.5
"""Calls that wait for their time are published anew when so much lies behind them."""


class Upkeep:
    """Two tasks, until cancelled."""

    def __init__(self, parts: Parts, work: Work) -> None:
        self._parts = parts
        self._work = work
        self._generation = 0
        self._able = 0

    async def watch_clock(self) -> None:
        """Bring what is due."""
        parts = self._parts
        while True:
            now = parts.clock()
            for entry in parts.alarms.passed(now):
                if entry.phase is Phase.DELAYED and entry.due is not None and entry.due <= now:
                    entry.lane.delayed -= 1
                    parts.ready(entry)
            with trio.move_on_after(parts.alarms.pause(now)):
                await parts.alarm.wait()
            parts.alarm = trio.Event()

    async def rounds(self) -> None:
        """Everything else."""
        turn = 0
        while True:
            await trio.sleep(ROUND)
            turn += 1
            self._parts.session.pubs.expire(trio.current_time())
            if turn % SLOW == 0:
                self._correct()
                self._look_at_limits()
                self.write_down()
                self._parts.counters.lanes.forget_idle()

    def _correct(self) -> None:
        """Nothing has come for a while although the server could send it: then it is not there."""
        parts = self._parts
        intakes = parts.channels.intakes.values()
        able = parts.session.up and not any(intake.saturated for intake in intakes)
        if not able or parts.session.generation != self._generation:
            self._generation, self._able = parts.session.generation, 0
            parts.counters.keep_outside()
            return
        self._able += 1
        if self._able % QUIET == 0:
            parts.counters.clear_outside()
        for intake in intakes:
            lost = intake.lost(trio.current_time() - 2 * parts.options.ack_wait - QUIET)
            if lost and not parts.options.shared:
                log.error(
                    "%s: %d messages never came: the server dropped them at its limits, or somebody else reads in our "
                    "group (then say so: queue.options.shared = true)", intake.name, lost,
                )  # fmt: skip

    def _look_at_limits(self) -> None:
        """A channel at its limit drops its oldest messages without a word, whether they were acknowledged or not."""
        parts, options = self._parts, self._parts.options
        danger: dict[str, str] = {}
        for intake in parts.channels.intakes.values():
            messages, size = intake.span()
            share = max(
                messages / options.channel_max_msgs if options.channel_max_msgs else 0.0,
                size / options.channel_max_bytes if options.channel_max_bytes else 0.0,
            )
            if share > HALF and intake.name == options.later_subject:
                self._refresh(list(intake.held.values())[: len(intake.held) // 4 + 1])
            if share > NEAR:
                danger[intake.name] = (
                    f"the channel {intake.name} is nearly at the limit at which the server drops its oldest messages "
                    f"({messages} messages, {size} bytes; queue.options.channel_max_msgs and channel_max_bytes)"
                )
        for subject in danger.keys() - parts.danger.keys():
            log.warning("%s", danger[subject])
        parts.danger = danger

    def _refresh(self, old: list[Entry]) -> None:
        for entry in old:
            if entry.phase is Phase.DELAYED:
                entry.lane.delayed -= 1
                self._work.move(entry, entry.due)

    def write_down(self) -> None:
        """Into the journal: what would come to our next life; anew when it has grown."""
        parts = self._parts
        try:
            parts.journal.note(parts.counters.figures())
            if parts.journal.large:
                parts.journal.compact(
                    _known(entry)
                    for intake in parts.channels.intakes.values()
                    for entry in intake.held.values()
                    if entry.attempts or entry.due
                )
        except OSError as error:
            log.warning("the journal cannot be written: %s", error.strerror)


def _known(entry: Entry) -> tuple[Place, Known]:
    running = entry.phase is Phase.STARTED or entry.crashed
    return entry.key, Known(entry.attempts, running, None if running else entry.due)
