"""Every verb and option with its help. Nothing here but argparse, so that `--help` and mistakes are answered at once."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any, Final, NoReturn

from faasd_py.cli.queue_words import call_verbs, queue_verbs

SCOPES: Final = ("invoke", "read", "admin")
STATES: Final = ("ready", "leased", "delayed", "done", "dead", "cancelled")
_ABOUT: Final = """\
Asynchronous functions on one box: a gateway, a durable queue, workers and the functions in one daemon.

`faasd-py up` is the daemon; `check`, `config` and `plugins` look at the configuration; `reload`, `functions`, `calls`,
`logs` and `token` ask the running daemon, over its private socket or with --gateway from anywhere; `invoke` calls a
function."""
_ENDING: Final = """\
The configuration is --config PATH, else $FAASD_PY_CONFIG, else /etc/faasd-py/config.toml.
Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence."""

    def __init__(self, **words: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **words)

    def error(self, message: str) -> NoReturn:
        """One sentence, exit status 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def make_parser() -> Parser:
    """The parser of the whole command; `options.run` names the module of the verb, `options.parser` its parser."""
    parser = Parser(prog="faasd-py", description=_ABOUT, epilog=_ENDING)
    parser.add_argument("--config", metavar="PATH", help="the configuration file")
    parser.set_defaults(run=None, parser=parser)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")
    _daemon_verbs(verbs)
    _invoke(verbs)
    _calls(verbs)
    queue_verbs(verbs, _verb)
    _logs(verbs)
    _token(verbs)
    _login(verbs)
    _plugins(verbs)
    _verb(verbs, "version", "print the version", "Print the version of faasd-py.", json=True)
    return parser


def _daemon_verbs(verbs: Any) -> None:
    _verb(
        verbs,
        "up",
        "be the daemon",
        "Run the daemon in the foreground until SIGTERM or SIGINT; a second one stops it at once. SIGHUP reads the "
        "configuration again. Logs go to stderr.",
    )
    _verb(
        verbs,
        "check",
        "say what is wrong with the configuration",
        "Read the configuration, load its plug-ins and look for the programs and directories of its functions, without "
        "starting anything. Prints OK and what can be confined on this machine, or a sentence for each thing that is wrong (exit status 2).",
    )
    _verb(
        verbs,
        "config",
        "print the settings in force",
        "Print every setting with its effective value, as TOML (which reads back to the same settings) or as JSON. "
        "Settings that are not set and have no default are left out.",
        json=True,
    )
    _verb(
        verbs,
        "reload",
        "have the running daemon read its configuration again",
        "Have the running daemon read its configuration again, as SIGHUP does, and wait until it is in force. A file that is "
        "wrong is refused: the old one stays in force, and the sentence says why (exit status 1 or 2).",
        json=True,
        remote=True,
    )
    _verb(
        verbs,
        "functions",
        "list the functions of the running daemon",
        "List the functions with their mode, replicas (available/wanted), calls that run now, and calls since the start.",
        json=True,
        remote=True,
    )


def _invoke(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "invoke",
        "call a function",
        "Call a function and print its answer as it comes; with --async, queue the call and print its id. The body is "
        "--data or --file; without both, what is piped into stdin. Exit status 1 when the answer's status is 400 or more.",
        json=True,
    )
    verb.add_argument("name", metavar="NAME", help="NAME, NAME.NAMESPACE, or either with a /path behind it")
    _gateway(verb, "where: default $OPENFAAS_URL, else the configuration's gateway.listen")
    verb.add_argument(
        "--auth",
        action="store_true",
        help="send the gateway's credentials, for a function that asks (one that does not would see them)",
    )
    _request(verb.add_argument_group("the request"))
    _asynchronous(verb.add_argument_group("asynchronous calls (each of these implies --async)"))


def _gateway(verb: Parser, about: str) -> None:
    verb.add_argument("--gateway", "-g", metavar="URL", help=about)
    verb.add_argument("--tls-no-verify", action="store_true", help="do not check the gateway's certificate")


def _request(group: Any) -> None:
    body = group.add_mutually_exclusive_group()
    body.add_argument("--data", "-d", metavar="TEXT", help="the body")
    body.add_argument("--file", "-f", metavar="PATH", help="the body is this file; - is stdin")
    group.add_argument(
        "--header",
        "-H",
        metavar="'NAME: VALUE'",
        action="append",
        default=[],
        help="a header field; may be repeated",
    )
    group.add_argument("--method", "-X", metavar="METHOD", help="the HTTP method [POST]")
    group.add_argument(
        "--query", metavar="KEY=VALUE", action="append", default=[], help="a query parameter; may be repeated"
    )
    group.add_argument(
        "--include", "-i", action="store_true", help="print the answer's status and header fields before it"
    )


def _asynchronous(group: Any) -> None:
    group.add_argument(
        "--async", dest="asynchronous", action="store_true", help="queue the call and print its id"
    )
    group.add_argument("--callback", metavar="URL", help="POST the result here when the call is finished")
    group.add_argument("--failure-callback", metavar="URL", help="failures go here instead")
    group.add_argument(
        "--delay", metavar="DURATION", help='run no earlier than in this time: "10s", "5m", "6h"'
    )
    group.add_argument("--not-before", metavar="TIME", help="run no earlier than at this RFC 3339 time")
    group.add_argument("--max-age", metavar="DURATION", help="give up when not started within this time")
    group.add_argument("--max-attempts", metavar="N", help="attempts in all, up to the function's own limit")
    group.add_argument("--priority", metavar="N", help="-10 to 10, higher first [0]")
    group.add_argument("--timeout", metavar="DURATION", help="shorten the function's exec_timeout")
    group.add_argument(
        "--idempotency-key",
        metavar="KEY",
        help="the same key again gives the first call's id and queues nothing",
    )
    group.add_argument("--call-id", metavar="ID", help="your own id for the call; may repeat")


def _calls(verbs: Any) -> None:
    calls = verbs.add_parser(
        "calls",
        help="list, show, await, cancel, requeue or purge asynchronous calls",
        description="Look at the queue of the running daemon and change what is in it, over its private socket or through a gateway.\n\n"
        "    put -> READY -> LEASED -> DONE, or -> DELAYED (waits to be tried again) -> READY, or -> DEAD\n"
        "    cancel: READY, DELAYED, LEASED, DEAD -> CANCELLED      requeue: DEAD -> READY",
        epilog=_ENDING,
    )
    calls.set_defaults(parser=calls)
    verbs = calls.add_subparsers(title="verbs", metavar="VERB")
    _list(verbs)
    _show(verbs)
    cancel = _verb(
        verbs,
        "cancel",
        "cancel calls",
        "Cancel calls that wait, or stop the attempt that runs.",
        json=True,
        run="cancel",
        remote=True,
    )
    cancel.add_argument("ids", metavar="ID", nargs="+", help="a queue id, or an X-Call-Id")
    _requeue(verbs)
    _purge(verbs)
    call_verbs(verbs, _verb)


def _logs(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "logs",
        "print what a function wrote",
        "Print the lines that a function wrote, those of the last five minutes unless it is said otherwise, each with its time and "
        "its process. --json prints the JSON objects as they come, one a line, with stream and call id.",
        json=True,
        remote=True,
    )
    verb.add_argument("name", metavar="NAME", help="NAME or NAME.NAMESPACE; also of one that was removed")
    verb.add_argument("--follow", "-f", action="store_true", help="then print lines as they come")
    verb.add_argument(
        "--since", metavar="TIME", help='lines from the last "10m", or from an RFC 3339 time on'
    )
    verb.add_argument("--tail", metavar="N", type=_positive, help="the last N lines, however old")
    verb.add_argument("--instance", metavar="ID", help="only lines of this process")
    verb.add_argument("--call", metavar="ID", help="only lines of this call (its X-Call-Id), however old")


def _token(verbs: Any) -> None:
    token = verbs.add_parser(
        "token",
        help="make, list or revoke bearer tokens",
        description="Look after the bearer tokens that the running daemon accepts.",
        epilog=_ENDING,
    )
    token.set_defaults(parser=token)
    verbs = token.add_subparsers(title="verbs", metavar="VERB")
    create = _verb(
        verbs,
        "create",
        "make a token and print it",
        "Make a token and print it, once: only its digest is kept. It is accepted from now on.",
        json=True,
        run="token_create",
        remote=True,
    )
    create.add_argument("--name", metavar="NAME", required=True, help="what it is called, in lists and logs")
    create.add_argument(
        "--scope", choices=SCOPES, metavar="SCOPE", required=True, action="append",
        help="invoke (functions that ask), read, or admin (which may read, too); may be repeated",
    )  # fmt: skip
    create.add_argument("--expires", metavar="DURATION", help='how long it is accepted: "90d" [for ever]')
    about = "List the tokens with their scopes and when they expire."
    _verb(verbs, "list", "list tokens", about, json=True, run="token_list", remote=True)
    about = "Revoke tokens: they are refused from now on."
    revoke = _verb(verbs, "revoke", "revoke tokens", about, json=True, run="token_revoke", remote=True)
    revoke.add_argument("names", metavar="NAME", nargs="+", help="which")


def _login(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "login",
        "keep credentials for a gateway",
        "Ask for a password (or read it from stdin), try it at the gateway, and keep it where faas-cli does: in "
        "~/.openfaas/config.yml, readable by you alone. Verbs with --gateway use it from then on, and so does faas-cli.",
    )
    _gateway(verb, "where: default $OPENFAAS_URL, else the configuration's gateway.listen")
    verb.add_argument("--username", "-u", metavar="NAME", default="admin", help="who you are [admin]")
    verb.add_argument("--password-stdin", "-s", action="store_true", help="read the password from stdin")
    verb.add_argument("--token", action="store_true", help="it is a bearer token, not a password")


def _plugins(verbs: Any) -> None:
    about = (
        "List the built-in and the pip-installed plug-ins with what they register: queue backends and what each can do, "
        "runtime modes, services, observers. A plug-in that cannot be loaded is listed with the reason."
    )
    plugins = _verb(verbs, "plugins", "list, check or install plug-ins", about, json=True)
    below = plugins.add_subparsers(title="verbs", metavar="VERB")
    _verb(below, "list", "list plug-ins (also without a verb)", about, json=True, run="plugins")
    _verb(
        below,
        "check",
        "try the configured queue backend",
        "Load the plug-ins that the configuration names, open its queue backend with its options in a place of its own, "
        "and take one call through its life cycle: put, lease, start, settle. A backend with a broker talks to that broker, in "
        "a lane of its own (faasd-py-check). Prints how long it took, or what went wrong (exit status 1).",
        json=True,
        run="plugins_check",
    )
    install = _verb(
        below,
        "install",
        "install plug-ins with pip",
        "Install plug-ins with pip into the state directory, where the daemon finds them after a restart. NAME is the "
        "plug-in's short name (jetstream stands for faasd-py-jetstream), or whatever pip takes.",
        run="plugins_install",
    )
    install.add_argument("names", metavar="NAME", nargs="+", help="which plug-in")
    install.add_argument("--upgrade", action="store_true", help="also when it is installed already")


def _list(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "list",
        "list calls, newest first",
        "List calls, newest first.",
        json=True,
        run="listing",
        remote=True,
    )
    _which(verb, states=True)
    verb.add_argument("--limit", metavar="N", type=_positive, default=20, help="how many at most [20]")
    verb.add_argument("--before", metavar="ID", help="only calls older than this one: the next page")


def _show(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "show",
        "show one call",
        "Show a call with the history of its attempts, or print the body of its request or of its last answer.",
        json=True,
        run="show",
        remote=True,
    )
    verb.add_argument("id", metavar="ID", help="a queue id, or an X-Call-Id (the newest call that has it)")
    what = verb.add_mutually_exclusive_group()
    what.add_argument(
        "--request", action="store_true", help="the request: its body as it is, or with --json everything"
    )
    what.add_argument(
        "--result", action="store_true", help="the last answer: its body as it is, or with --json everything"
    )


def _requeue(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "requeue",
        "run dead calls again",
        "Make dead calls ready again, with their attempts at zero: those with the given ids, or all, or all of a function.",
        json=True,
        run="requeue",
        remote=True,
    )
    verb.add_argument("ids", metavar="ID", nargs="*", help="a queue id, or an X-Call-Id")
    verb.add_argument("--all", action="store_true", help="all dead calls")
    _which(verb, states=False)


def _purge(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "purge",
        "remove calls for good",
        "Remove calls with their results: those with the given ids, or all that --state and --function name. Calls that "
        "run are left alone.",
        json=True,
        run="purge",
        remote=True,
    )
    verb.add_argument("ids", metavar="ID", nargs="*", help="a queue id")
    _which(verb, states=True)


def _which(verb: Parser, *, states: bool) -> None:
    if states:
        verb.add_argument(
            "--state", choices=STATES, metavar="STATE", help=f"only calls that are {', '.join(STATES)}"
        )
    verb.add_argument(
        "--function", metavar="NAME", help="only calls of this function (or of callback:HOST:PORT)"
    )


def _verb(
    verbs: Any,
    name: str,
    brief: str,
    about: str,
    *,
    json: bool = False,
    run: str | None = None,
    remote: bool = False,
) -> Parser:
    verb: Parser = verbs.add_parser(name, help=brief, description=textwrap.fill(about, 100), epilog=_ENDING)
    verb.set_defaults(run=run or name, parser=verb)
    verb.add_argument("--config", metavar="PATH", default=argparse.SUPPRESS, help="the configuration file")
    if json:
        verb.add_argument("--json", action="store_true", help="print JSON")
    if remote:
        _gateway(verb, "ask the daemon behind this gateway [$OPENFAAS_URL, else the one of this box]")
    return verb


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"expected an integer >= 1, got {text!r}")
    return int(text)
