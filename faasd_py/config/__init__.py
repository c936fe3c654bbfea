"""config.toml: from words to frozen settings. `settings` says what there is, `load` reads it, `show` prints it."""

from faasd_py.config.load import find, load, parse
from faasd_py.config.options import convert_options, read_secret
from faasd_py.config.settings import (
    AuthSettings,
    CallbackSettings,
    Config,
    ConfineSettings,
    FunctionSettings,
    GatewaySettings,
    GroupSettings,
    LimitSettings,
    LogSettings,
    MetricsSettings,
    QueueSettings,
    RateSettings,
    ReplicaSettings,
    StateSettings,
    TlsSettings,
    WorkerSettings,
)
from faasd_py.config.show import plain, show

__all__ = [
    "AuthSettings", "CallbackSettings", "Config", "ConfineSettings", "FunctionSettings", "GatewaySettings", "GroupSettings",
    "LimitSettings", "LogSettings",
    "MetricsSettings", "QueueSettings", "RateSettings", "ReplicaSettings", "StateSettings", "TlsSettings",
    "WorkerSettings", "convert_options", "find", "load", "parse", "plain", "read_secret", "show",
]  # fmt: skip
