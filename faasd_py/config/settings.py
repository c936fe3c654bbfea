"""Every setting, its type and its default. config.toml documents each; a test holds the two together."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from faasd_py.core.durations import Duration, Size
from faasd_py.core.names import DEFAULT_NAMESPACE
from faasd_py.core.retry import RetryPolicy
from faasd_py.core.scaling import Scaling, scaling

Count = Annotated[int, Meta(ge=1)]
CountOrNone = Annotated[int, Meta(ge=0)]
KIB, MIB = 1 << 10, 1 << 20


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of config.toml: frozen, and a key it does not know is an error."""


class TlsSettings(Table, frozen=True, kw_only=True):
    """`[gateway.tls]`: PEM files; read again on SIGHUP."""

    certificate: str
    key: str


class GatewaySettings(Table, frozen=True, kw_only=True):
    """`[gateway]`: the door. Limits are per connection unless they say otherwise."""

    listen: list[str] = msgspec.field(default_factory=lambda: ["127.0.0.1:8080"])
    max_body: Size = Size(64 * MIB)
    """Of an asynchronous call; synchronous bodies stream through without limit."""
    max_connections: Count = 4096
    max_head: Size = Size(64 * KIB)
    max_headers: Count = 100
    head_timeout: Duration = Duration(10)
    idle_timeout: Duration = Duration(75)
    read_timeout: Duration = Duration(60)
    """Without a byte of a body's progress."""
    write_timeout: Duration = Duration(60)
    """Without a byte of an answer's progress."""
    namespace: str = DEFAULT_NAMESPACE
    names: list[str] = msgspec.field(
        default_factory=lambda: ["gateway", "gateway.openfaas", "127.0.0.1", "localhost"]
    )
    """Hosts under which callbacks mean this daemon itself."""
    tls: TlsSettings | None = None


class MetricsSettings(Table, frozen=True, kw_only=True):
    """`[metrics]`: a listener of its own for /metrics and /healthz; empty: none."""

    listen: list[str] = msgspec.field(default_factory=lambda: ["127.0.0.1:8082"])


class StateSettings(Table, frozen=True, kw_only=True):
    """`[state]`: everything that must survive lies below `directory`; sockets in `runtime_directory`."""

    directory: str = "/var/lib/faasd-py"
    runtime_directory: str = "/run/faasd-py"


class QueueSettings(Table, frozen=True, kw_only=True):
    """`[queue]`: which backend, and how much it may hold."""

    backend: str = "sqlite"
    max_depth: Count = 1_000_000
    max_bytes: Size = Size(4096 * MIB)
    result_retention: Duration = Duration(24 * 3600)
    failure_retention: Duration = Duration(7 * 24 * 3600)
    idempotency_window: Duration = Duration(24 * 3600)
    max_result: Size = Size(256 * KIB)
    """The largest answer body that is kept."""
    max_results_bytes: Size = Size(512 * MIB)
    """All kept results together; the oldest go first."""
    options: dict[str, Any] = {}
    """`[queue.options]`: handed to the backend as it is."""


class GroupSettings(Table, frozen=True, kw_only=True):
    """`[workers.groups.NAME]`: the functions whose annotation `com.openfaas.queue` is NAME."""

    max_inflight: Count
    """Their asynchronous calls at once, besides those of `[workers]`."""


class WorkerSettings(Table, frozen=True, kw_only=True):
    """`[workers]`: the asynchronous calls that run at once, and how long a stop waits for them."""

    max_inflight: Count = 64
    function_max_inflight: Count = 8
    """Asynchronous calls of one function at once, unless the function says otherwise."""
    grace: Duration = Duration(30)
    groups: dict[str, GroupSettings] = {}
    """`[workers.groups.NAME]`: named queues with slots of their own."""


class CallbackSettings(Table, frozen=True, kw_only=True):
    """`[callback]`: who may be called, how it is signed, how often it is tried."""

    allow: list[str] = msgspec.field(default_factory=lambda: ["public", "private"])
    timeout: Duration = Duration(15)
    max_inflight: Count = 32
    """Deliveries to one host at once."""
    schedule: list[Duration] = msgspec.field(
        default_factory=lambda: [Duration(s) for s in (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)]
    )
    """Waits between attempts: one attempt more than there are waits."""
    secrets: list[str] = []
    """Files with signing secrets (`whsec_` + base64, or raw): the first signs, all do while rotating."""


class AuthSettings(Table, frozen=True, kw_only=True):
    """`[auth]`: who may use /system and /ui, and functions that ask who calls. Files are read again on SIGHUP."""

    enabled: bool = True
    """Whether /system and /ui ask."""
    user_file: str | None = None
    password_file: str | None = None
    """None: systemd's credentials `basic-auth-user` and `basic-auth-password`, else files below state.directory."""
    tokens: str | None = None
    """A JSON file with bearer tokens' digests; None: the one that `faasd-py token` manages."""
    functions: bool = False
    """Whether functions ask that do not say."""


class LogSettings(Table, frozen=True, kw_only=True):
    """`[log]`: the daemon's own lines on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class LogsSettings(Table, frozen=True, kw_only=True):
    """`[logs]`: the lines of functions, kept on disk."""

    enabled: bool = True
    per_function: Size = Size(16 * MIB)
    total: Size = Size(256 * MIB)
    """All functions together; the oldest lines go first."""
    retention: Duration = Duration(7 * 24 * 3600)
    echo: bool = True
    """Into the daemon's own log, too."""
    watchdog_lines: bool = False
    """A fork call leaves the lines that OpenFaaS' classic-watchdog writes."""


class ReplicaSettings(Table, frozen=True, kw_only=True):
    """`replicas = { min, max }` of an http function; min 0 means that it may sleep."""

    min: CountOrNone = 1
    max: Count = 1


class LimitSettings(Table, frozen=True, kw_only=True):
    """`[functions.NAME.limits]`: what one process may use."""

    memory: Size | None = None
    cpu: float | None = None
    pids: Count | None = None
    open_files: Count | None = None
    best_effort: bool = False


class ConfineSettings(Table, frozen=True, kw_only=True):
    """`[functions.NAME.confine]`: what the function's processes see of the machine; the table alone is enough."""

    read: list[str] = []
    """Files and directories that may be read besides the system's."""
    write: list[str] = []
    """That may be read and written besides /tmp and /var/tmp."""
    network: bool = True
    """False: unix sockets only."""


class RateSettings(Table, frozen=True, kw_only=True):
    """`rate = { calls, per }`: a token bucket of `calls`, filled evenly once `per`."""

    calls: Count
    per: Duration = Duration(1)


class FunctionSettings(Table, frozen=True, kw_only=True):
    """`[functions.NAME]`: one function. `command` with a mode, or `url`, or `image`."""

    command: list[str] | None = None
    mode: str | None = None
    """`fork`, `stream`, `http`, or what a plug-in registers; from `url` and `image` it follows by itself."""
    url: str | None = None
    image: str | None = None
    read_timeout: Duration = Duration(60)
    write_timeout: Duration = Duration(60)
    exec_timeout: Duration = Duration(60)
    """0: none."""
    kill_grace: Duration = Duration(2)
    """Between TERM and KILL."""
    max_inflight: CountOrNone = 0
    """Synchronous calls at once, 0 for any number; asynchronous ones too, when set."""
    ordered: bool = False
    environment: dict[str, str] = {}
    working_directory: str | None = None
    user: str | None = None
    limits: LimitSettings = LimitSettings()
    read_only_root: bool = False
    confine: ConfineSettings | None = None
    secrets: list[str] = []
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    retry: RetryPolicy = RetryPolicy()
    rate: RateSettings | None = None
    schedule: str | list[str] = []
    """When it is called by the clock: `config.cron`."""
    catch_up: Literal["none", "last"] = "none"
    """What becomes of slots that were missed: the last one is met late, or none."""
    auth: bool | None = None
    """Whether its callers must say who they are; None: as `auth.functions`."""
    combine_output: bool = False
    content_type: str | None = None
    cgi_headers: bool = True
    port: CountOrNone = 0
    """http: a fixed port; 0: a free one, told as PORT."""
    unix_socket: bool = False
    """http: the function listens on UNIX_SOCKET instead of PORT."""
    replicas: ReplicaSettings = ReplicaSettings()
    idle_timeout: Duration = Duration(300)
    """http with replicas.min = 0: sleeps after this long without a call."""
    ready_path: str | None = None
    """http: answers 2xx when ready; None: ready when it accepts a connection."""
    start_timeout: Duration = Duration(30)
    health_path: str | None = None
    """http: answers 2xx while it is well; what is not is replaced."""
    health_interval: Duration = Duration(10)
    sleep: Literal["stop", "pause"] = "stop"
    """http: how a replica sleeps; `pause` keeps its memory."""
    max_idle_connections: Count = 256

    def scaling(self) -> Scaling:
        """What `replicas`, `idle_timeout` and the labels ask of the number of replicas."""
        return scaling(self.replicas.min, self.replicas.max, self.idle_timeout, self.labels)


class Config(Table, frozen=True, kw_only=True):
    """The whole file. `plugins` names the pip-installed plug-ins to load besides those that backends and modes name."""

    gateway: GatewaySettings = GatewaySettings()
    metrics: MetricsSettings = MetricsSettings()
    state: StateSettings = StateSettings()
    queue: QueueSettings = QueueSettings()
    workers: WorkerSettings = WorkerSettings()
    callback: CallbackSettings = CallbackSettings()
    auth: AuthSettings = AuthSettings()
    log: LogSettings = LogSettings()
    logs: LogsSettings = LogsSettings()
    plugins: list[str] = []
    services: dict[str, dict[str, Any]] = {}
    """`[services.NAME]`: run the service of that name, with this table as its options."""
    runtimes: dict[str, dict[str, Any]] = {}
    """`[runtimes.NAME]`: options of the runtimes that the plug-in of that name registers."""
    images: dict[str, FunctionSettings] = {}
    """`[images."PATTERN"]`: what a function is whose deployment names an image that fits."""
    functions: dict[str, FunctionSettings] = {}
