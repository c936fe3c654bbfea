"""The words of `faasd-py queue`, `events`, `calls wait` and `calls result`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Verb = Callable[..., Any]


def queue_verbs(verbs: Any, verb: Verb) -> None:
    """`queue` with its own verbs, and `events`; `verb` makes one."""
    about = (
        "List the lanes of the queue: functions, and receivers of callbacks, with how many calls wait, run, wait to be tried "
        "again and are dead, how long the oldest waits, and calls accepted and finished per second over the last minute."
    )
    queue = verb(verbs, "queue", "show, pause or resume the queue's lanes", about, json=True, remote=True)
    below = queue.add_subparsers(title="verbs", metavar="VERB")
    pause = (
        "Begin no call of a function any more, also after a restart. Calls are accepted all the same, and those that run are "
        "finished."
    )
    for word, brief, what in (
        ("pause", "begin no call of a function", pause),
        ("resume", "let a function's calls go on", "Let the calls of a function go on."),
    ):
        one = verb(below, word, brief, what, json=True, run=f"queue_{word}", remote=True)
        one.add_argument("function", metavar="FUNCTION", help="NAME, NAME.NAMESPACE or callback:HOST:PORT")
    _events(verbs, verb)


def _events(verbs: Any, verb: Verb) -> None:
    events = verb(
        verbs,
        "events",
        "follow what happens",
        "Print what happens in the daemon as it happens, until interrupted: calls that come, begin, fail and end, callbacks, "
        "functions, the configuration. --json prints one JSON object a line.",
        json=True,
        remote=True,
    )
    events.add_argument("--function", metavar="NAME", help="only of this function (or of callback:HOST:PORT)")
    events.add_argument(
        "--event",
        metavar="KINDS",
        help="only these, with commas between them; a name that ends in a dot is all that begin so",
    )


def call_verbs(verbs: Any, verb: Verb) -> None:
    """`calls wait` and `calls result`."""
    wait = verb(
        verbs,
        "wait",
        "wait for the end of a call",
        "Wait until a call is done, dead or cancelled, and say which. Exit status 1 unless it is done with a status below 400.",
        json=True,
        run="wait",
        remote=True,
    )
    wait.add_argument("id", metavar="ID", help="a queue id, or an X-Call-Id (the newest call that has it)")
    wait.add_argument("--timeout", metavar="DURATION", help="give up after this time (exit status 1)")
    result = verb(
        verbs,
        "result",
        "print the answer of a call",
        "Print the body of a call's last answer as it is, or with --json everything about the answer.",
        json=True,
        run="result",
        remote=True,
    )
    result.add_argument("id", metavar="ID", help="a queue id, or an X-Call-Id (the newest call that has it)")
