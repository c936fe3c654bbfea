"""Pure. What must hold between and within settings beyond their types; each broken rule is a sentence."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Final

from faasd_py.config import cron
from faasd_py.config.addresses import check_allowed, check_host, check_listen, check_url
from faasd_py.config.explain import shown
from faasd_py.config.settings import Config, FunctionSettings
from faasd_py.core import names
from faasd_py.core.annotations import DEFAULT_QUEUE, QUEUE, check_queue

POSITIVE: Final = (
    "gateway.head_timeout",
    "gateway.idle_timeout",
    "gateway.read_timeout",
    "gateway.write_timeout",
    "callback.timeout",
)
"""Durations that make no sense when they are zero."""
POSITIVE_OF_FUNCTION: Final = (
    "read_timeout", "write_timeout", "start_timeout", "idle_timeout", "health_interval",
)  # fmt: skip
_PROCESS: Final = ("environment", "working_directory", "user", "limits", "confine", "secrets", "kill_grace")
_PER_CALL: Final = ("combine_output", "content_type", "cgi_headers")
_SERVICE: Final = (
    "port", "unix_socket", "ready_path", "replicas", "idle_timeout", "start_timeout", "write_timeout",
    "health_path", "health_interval", "sleep",
)  # fmt: skip
_CONNECTION: Final = ("read_timeout", "max_idle_connections")
SETTINGS_OF: Final = {
    "fork": frozenset((*_PROCESS, *_PER_CALL)),
    "stream": frozenset((*_PROCESS, *_PER_CALL)),
    "http": frozenset((*_PROCESS, *_SERVICE, *_CONNECTION)),
    "url": frozenset(_CONNECTION),
}
"""What not every built-in mode heeds; said of a mode that does not, it would be ignored, so it is refused."""
SMALLEST_HEAD: Final = 1024
SMALLEST_LOG: Final = 1 << 20
_WORD: Final = re.compile(r"[a-z0-9](?:[-a-z0-9_.]*[a-z0-9])?", re.ASCII)
_FILE: Final = re.compile(r"[-._a-zA-Z0-9]+", re.ASCII)
_VISIBLE: Final = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*")
Broken = Iterator[str]


def broken(config: Config) -> Broken:
    """A sentence for each rule that the settings break."""
    yield from _listeners(config)
    yield from _gateway(config)
    yield from _queue(config)
    yield from _groups(config)
    yield from _callback(config)
    yield from _auth(config)
    yield from _logs(config)
    for name, function in config.functions.items():
        yield from broken_function(name, function)
    for pattern, template in config.images.items():
        for sentence in _template(pattern, template):
            yield f"images.{json.dumps(pattern)}{sentence}"


def broken_function(name: str, function: FunctionSettings) -> Broken:
    """A sentence for each rule that one function's settings break, beginning with `functions.NAME`."""
    for sentence in _function(name, function):
        yield f"functions.{name}{sentence}"


def _listeners(config: Config) -> Broken:
    taken: set[str] = set()
    if not config.gateway.listen:
        yield "gateway.listen: expected at least one address, got []"
    for table in ("gateway", "metrics"):
        for index, address in enumerate(getattr(config, table).listen):
            yield from _tried(f"{table}.listen[{index}]", check_listen, address)
            if address in taken and not address.endswith(":0"):
                yield f"{table}.listen[{index}]: {shown(address)} is listened on already"
            taken.add(address)


def _gateway(config: Config) -> Broken:
    for path in POSITIVE:
        table, key = path.split(".")
        yield from _positive(path, getattr(getattr(config, table), key))
    gateway = config.gateway
    if gateway.max_head < SMALLEST_HEAD:
        yield f'gateway.max_head: expected "1KiB" or more, got {shown(str(gateway.max_head))}'
    yield from _tried("gateway.namespace", _check_word, gateway.namespace)
    if "." in gateway.namespace:  # NAME.NAMESPACE is split at its last dot
        yield f"gateway.namespace: expected a word without a dot, got {shown(gateway.namespace)}"
    for index, name in enumerate(gateway.names):
        yield from _tried(f"gateway.names[{index}]", check_host, name)
    for key in ("certificate", "key"):
        if gateway.tls and not _is_path(path := getattr(gateway.tls, key)):
            yield f"gateway.tls.{key}: expected the path of a PEM file, got {shown(path)}"


def _queue(config: Config) -> Broken:
    for key in ("directory", "runtime_directory"):
        if not _is_path(getattr(config.state, key)):
            yield f"state.{key}: expected the path of a directory, got {shown(getattr(config.state, key))}"
    yield from _tried("queue.backend", _check_word, config.queue.backend)
    for index, plugin in enumerate(config.plugins):
        yield from _tried(f"plugins[{index}]", _check_word, plugin)
    for service in config.services:
        yield from _tried(f"services.{service}", _check_word, service)
    for plugin in config.runtimes:
        yield from _tried(f"runtimes.{plugin}", _check_word, plugin)


def _groups(config: Config) -> Broken:
    for name in config.workers.groups:
        yield from _tried(f"workers.groups.{name}", check_queue, name)
        if name == DEFAULT_QUEUE:
            yield f"workers.groups.{name}: the slots of this queue are workers.max_inflight"


def _callback(config: Config) -> Broken:
    for index, word in enumerate(config.callback.allow):
        yield from _tried(f"callback.allow[{index}]", check_allowed, word)
    for index, path in enumerate(config.callback.secrets):
        if not _is_path(path):
            yield f"callback.secrets[{index}]: expected the path of a file, got {shown(path)}"


def _auth(config: Config) -> Broken:
    auth = config.auth
    for key in ("user_file", "password_file", "tokens"):
        path = getattr(auth, key)
        if path is not None and not _is_path(path):
            yield f"auth.{key}: expected the path of a file, got {shown(path)}"
    if (auth.user_file is None) is not (auth.password_file is None):
        yield "auth: expected both user_file and password_file, or neither"


def _logs(config: Config) -> Broken:
    logs = config.logs
    if logs.per_function < SMALLEST_LOG:
        yield f'logs.per_function: expected "1MiB" or more, got {shown(str(logs.per_function))}'
    if logs.total < logs.per_function:
        yield f"logs.total: expected at least per_function, got {shown(str(logs.total))}"
    yield from _positive("logs.retention", logs.retention)


def _function(name: str, function: FunctionSettings) -> Broken:
    """Each sentence begins with what follows the function's name: `.key: …` or `: …`."""
    yield from _tried("", names.check, name)
    yield from _kind(function)
    yield from _settings(function)


def _template(pattern: str, template: FunctionSettings) -> Broken:
    """A template of `[images]`: as a function, but what it runs may come with the deployment."""
    if not re.fullmatch(r"[\x21-\x7e]+", pattern):
        yield f": expected the name of an image, with * and ? for what varies, got {shown(pattern)}"
    if template.url is not None:
        yield ".url: a template has none: what is deployed would be the same service each time"
    elif template.command is not None and template.image is not None:
        yield ": expected at most one of command and image, got command and image"
    kind = "image" if template.image is not None else "command" if template.command is not None else ""
    yield from _mode(kind, template.mode)
    yield from _settings(template)


def _settings(function: FunctionSettings) -> Broken:
    yield from _program(function)
    yield from _confine(function)
    yield from _ignored(function)
    yield from _service(function)
    yield from _retry(function)
    yield from _schedule(function)
    yield from _tried(f".annotations.{QUEUE}", check_queue, function.annotations.get(QUEUE, DEFAULT_QUEUE))
    for key in POSITIVE_OF_FUNCTION:
        yield from _positive(f".{key}", getattr(function, key))
    if function.content_type is not None and not _VISIBLE.fullmatch(function.content_type):
        yield f".content_type: expected one line of text, got {shown(function.content_type)}"
    for index, secret in enumerate(function.secrets):
        if not _FILE.fullmatch(secret) or secret in {".", ".."}:
            yield f".secrets[{index}]: expected a file name below the secrets directory, got {shown(secret)}"
    if function.rate is not None:
        yield from _positive(".rate.per", function.rate.per)


def _kind(function: FunctionSettings) -> Broken:
    kinds = [key for key in ("command", "url", "image") if getattr(function, key) is not None]
    if len(kinds) != 1:
        got = " and ".join(kinds) or "none of them"
        yield f": expected exactly one of command, url and image, got {got}"
        return
    if function.url is not None:
        yield from _tried(".url", check_url, function.url)
    if function.image is not None and not re.fullmatch(r"[^\s\x00-\x1f]+", function.image):
        yield f".image: expected the name of an image, got {shown(function.image)}"
    yield from _mode(kinds[0], function.mode)


def _mode(kind: str, mode: str | None) -> Broken:
    if mode is None:
        return
    if not _WORD.fullmatch(mode):
        yield f'.mode: expected a word like "fork", "stream" or "http", got {shown(mode)}'
    elif kind == "url" and mode != "url":
        yield f".mode: a function with a url is not run here, so it has no mode {shown(mode)}"
    elif mode in {"command": {"url", "image"}, "": {"url"}}.get(kind, ()):
        yield f'.mode: expected "fork", "stream", "http" or the mode of a plug-in, got {shown(mode)}'
    elif kind == "image" and mode in {"fork", "stream", "http", "url"}:
        yield f".mode: mode {shown(mode)} runs a command, not an image"


def _program(function: FunctionSettings) -> Broken:
    if function.command is not None and not (function.command and function.command[0].strip()):
        yield f".command: expected the program to run and its arguments, got {shown(function.command)}"
    for index, word in enumerate(function.command or ()):
        if "\0" in word:
            yield f".command[{index}]: a NUL cannot be passed to a program"
    for key, value in function.environment.items():
        if not key or "=" in key or "\0" in key + value:
            yield f".environment.{key}: expected a name without '=' and no NUL, got {shown({key: value})}"
    for name in ("working_directory", "user"):
        value = getattr(function, name)
        if value is not None and not _is_path(value):
            yield f".{name}: expected a name, got {shown(value)}"
    cpu = function.limits.cpu
    if cpu is not None and not (math.isfinite(cpu) and cpu > 0):
        yield f".limits.cpu: expected a number of cores above 0, got {cpu}"
    if function.limits.memory == 0:
        yield '.limits.memory: expected a size above 0, got "0B"'


def _confine(function: FunctionSettings) -> Broken:
    for key in ("read", "write"):
        for index, path in enumerate(getattr(function.confine, key, ())):
            if not (path.startswith("/") and _is_path(path)):
                yield f".confine.{key}[{index}]: expected an absolute path, got {shown(path)}"


def _ignored(function: FunctionSettings) -> Broken:
    """Settings that the function's mode does not heed; a plug-in's mode is the plug-in's to judge."""
    mode = function.mode or ("fork" if function.url is None else "url")
    if mode not in SETTINGS_OF or function.image is not None:
        return
    plain = FunctionSettings()
    for key in FunctionSettings.__struct_fields__:
        heeding = [name for name, settings in SETTINGS_OF.items() if key in settings]
        if heeding and mode not in heeding and getattr(function, key) != getattr(plain, key):
            yield f'.{key}: mode "{mode}" does not heed it, only {" and ".join(heeding)}'


def _service(function: FunctionSettings) -> Broken:
    if function.replicas.max < function.replicas.min:
        yield f".replicas: expected max >= min, got min {function.replicas.min} and max {function.replicas.max}"
    if function.port > 65535:
        yield f".port: expected a port up to 65535, or 0 for a free one, got {function.port}"
    if function.port and function.unix_socket:
        yield ".port: a function that listens on UNIX_SOCKET has no port"
    if function.port and function.replicas.max > 1 and function.image is None:
        yield f".port: one port serves one replica, and replicas.max is {function.replicas.max}"
    if function.ready_path is not None and not re.fullmatch(r"/[\x21-\x7e]*", function.ready_path):
        yield f'.ready_path: expected a path like "/_/ready", got {shown(function.ready_path)}'


def _retry(function: FunctionSettings) -> Broken:
    retry = function.retry
    if retry.attempts < 1:
        yield f".retry.attempts: expected an integer >= 1, got {retry.attempts}"
    if odd := sorted(code for code in retry.codes if not 100 <= code <= 599):
        yield f".retry.codes: expected HTTP statuses from 100 to 599, got {odd[0]}"
    if retry.max_wait < retry.min_wait:
        yield (
            f".retry: expected max_wait >= min_wait, got min_wait {shown(str(retry.min_wait))} "
            f"and max_wait {shown(str(retry.max_wait))}"
        )


def _schedule(function: FunctionSettings) -> Broken:
    own = cron.expressions(function.schedule, {})
    for text in own:
        yield from _tried(".schedule", cron.check, text)
    annotated = [text for text in cron.expressions([], function.annotations) if text not in own]
    for text in annotated:
        yield from _tried(".annotations.schedule", cron.check, text)
    if not own and not annotated and function.catch_up != "none":
        yield f'.catch_up: there is no schedule to catch up with, so expected "none", got {shown(function.catch_up)}'


def _tried(place: str, check: Callable[[str], object], value: str) -> Broken:
    try:
        check(value)
    except ValueError as error:
        yield f"{place}: {error}"


def _positive(place: str, seconds: float) -> Broken:
    if not seconds > 0:
        yield f'{place}: expected a duration above 0, got "0s"'


def _check_word(text: str) -> None:
    if not _WORD.fullmatch(text):
        raise ValueError(f"expected a word of small letters, digits, '-', '_' or '.', got {shown(text)}")


def _is_path(text: str) -> bool:
    return bool(text.strip()) and "\0" not in text
