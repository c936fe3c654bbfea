"""All that a plug-in imports from the daemon, besides `faasd_py.testing`."""

from faasd_py.config import QueueSettings, convert_options, read_secret
from faasd_py.core.call import Body, Call, Lease, Spooled
from faasd_py.core.durations import Duration, Size, parse_duration, parse_size
from faasd_py.core.errors import (
    BadOption,
    ConfigError,
    FunctionTimeout,
    FunctionUnavailable,
    IdempotencyConflict,
    IllegalMove,
    PluginError,
    QueueBroken,
    QueueError,
    QueueFull,
    QueueUnavailable,
)
from faasd_py.core.lifecycle import Move, State, after
from faasd_py.core.outcome import CRASHED, Attempt, Outcome, Verdict
from faasd_py.hookspecs import (
    API_VERSION,
    ClaimLane,
    OpenShared,
    QueueSite,
    RegisterQueue,
    RegisterRuntime,
    RegisterService,
    RuntimeSite,
    ServiceSite,
    hookimpl,
)
from faasd_py.http.client import Dial, dial_tcp, dial_unix
from faasd_py.http.errors import ConnectFailed
from faasd_py.queue.beside import tasks_beside
from faasd_py.queue.contract import (
    Accepted,
    Capabilities,
    Filter,
    LaneStats,
    Queue,
    QueueStats,
    Record,
    start_many,
)
from faasd_py.queue.memory import open_queue as open_memory_queue
from faasd_py.queue.spool import Spool
from faasd_py.queue.sqlite import open_queue as open_sqlite_queue
from faasd_py.runtime.contract import (
    Duplex,
    FunctionLog,
    Invocation,
    OpenRuntime,
    Replicas,
    Reply,
    Runtime,
    Source,
    Usage,
)
from faasd_py.runtime.fleet.fleet import open_fleet
from faasd_py.runtime.fleet.instance import Instance, OpenInstance

__all__ = [
    "API_VERSION",
    "CRASHED",
    "Accepted",
    "Attempt",
    "BadOption",
    "Body",
    "Call",
    "Capabilities",
    "ClaimLane",
    "ConfigError",
    "ConnectFailed",
    "Dial",
    "Duplex",
    "Duration",
    "Filter",
    "FunctionLog",
    "FunctionTimeout",
    "FunctionUnavailable",
    "IdempotencyConflict",
    "IllegalMove",
    "Instance",
    "Invocation",
    "LaneStats",
    "Lease",
    "Move",
    "OpenInstance",
    "OpenRuntime",
    "OpenShared",
    "Outcome",
    "PluginError",
    "Queue",
    "QueueBroken",
    "QueueError",
    "QueueFull",
    "QueueSettings",
    "QueueSite",
    "QueueStats",
    "QueueUnavailable",
    "Record",
    "RegisterQueue",
    "RegisterRuntime",
    "RegisterService",
    "Replicas",
    "Reply",
    "Runtime",
    "RuntimeSite",
    "ServiceSite",
    "Size",
    "Source",
    "Spool",
    "Spooled",
    "State",
    "Usage",
    "Verdict",
    "after",
    "convert_options",
    "dial_tcp",
    "dial_unix",
    "hookimpl",
    "open_fleet",
    "open_memory_queue",
    "open_sqlite_queue",
    "parse_duration",
    "parse_size",
    "read_secret",
    "start_many",
    "tasks_beside",
]  # fmt: skip
