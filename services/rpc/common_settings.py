"""The settings that every service has."""

from services.rpc.settings import Setting

STORE_URL = Setting(
    "METERLOG_STORE_URL",
    "sqlite:///var/log/events.db",
    "The event store: sqlite:///<file>, postgresql://…, kurrentdb://… or memory://.",
)
VAR = Setting("METERLOG_VAR", "var", "Folder of embedded files; each service keeps its own in <folder>/<service>.")
DATABASE_URL = Setting(
    "METERLOG_DATABASE_URL",
    "",
    "Read models: sqlite:///<file> of this service alone, or postgresql://…, which all may share; default: a file in "
    "its folder below METERLOG_VAR.",
)
API_KEYS = Setting(
    "METERLOG_API_KEYS",
    "",
    "Keys that may call: <name>:<scope>[+<scope>]:<SHA-256 of the key in hexadecimal>, separated by commas; scopes are "
    "ingest, read and admin. Without any, only a loopback address may be listened on, and everybody on it may call.",
)
CLOCK = Setting("METERLOG_CLOCK", "system", "system, or simulated (never in production): stands still until advanced.")
CLOCK_START = Setting(
    "METERLOG_CLOCK_START", "", "Where a new simulation's clock starts, ISO 8601; default: the machine's time."
)
USAGE_PARTITIONS = Setting(
    "METERLOG_USAGE_PARTITIONS", "1", "Usage streams of a new log, 1 to 1024; fixed once the log is created."
)
LOG_FORMAT = Setting("METERLOG_LOG_FORMAT", "console", "console, or json: one document a line.")
LOG_LEVEL = Setting("METERLOG_LOG_LEVEL", "info", "debug, info, warning or error.")
TLS_CERT = Setting("METERLOG_TLS_CERT", "", "PEM file of the server's certificate chain; empty: no TLS.")
TLS_KEY = Setting("METERLOG_TLS_KEY", "", "PEM file of the server's private key.")
TLS_CLIENT_CA = Setting(
    "METERLOG_TLS_CLIENT_CA", "", "PEM file of the authority that client certificates must come from."
)
DRAIN_S = Setting("METERLOG_DRAIN_S", "10", "Seconds that calls in flight may take to end after SIGTERM.")

DEFAULT_PORTS = {"ingest": 7401, "aggregator": 7402, "rating": 7403, "notifier": 7404}


def common_settings(service: str) -> tuple[Setting, ...]:
    """The settings of one service that it shares with the others; the default port is its own."""
    listen = Setting(
        "METERLOG_LISTEN", f"127.0.0.1:{DEFAULT_PORTS[service]}", "Address and port to listen on, <host>:<port>."
    )
    return (
        STORE_URL,
        VAR,
        DATABASE_URL,
        listen,
        API_KEYS,
        CLOCK,
        CLOCK_START,
        USAGE_PARTITIONS,
        LOG_FORMAT,
        LOG_LEVEL,
        TLS_CERT,
        TLS_KEY,
        TLS_CLIENT_CA,
        DRAIN_S,
    )
