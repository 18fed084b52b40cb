"""What each process of a platform finds in its environment."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from services.cli.addresses import DEFAULT_PORT_BASE, SERVICES, address_variable
from services.cli.instants import instant_text
from services.cli.proxy import no_proxy_on_loopback

STORE_URL_VARIABLE: Final = "METERLOG_STORE_URL"
TLS_PREFIX: Final = "METERLOG_TLS_"
LOOPBACK_CIDRS: Final = "127.0.0.0/8,::1/128"


@dataclass(frozen=True, slots=True)
class PlatformSettings:
    """How a platform is started. Without `clock_start` a simulated clock starts at the machine's time.

    Several `aggregators` need read models in PostgreSQL, which they share. `environment` is what the services inherit;
    what these settings say wins over it.
    """

    var: Path
    port_base: int = DEFAULT_PORT_BASE
    aggregators: int = 1
    is_clock_simulated: bool = False
    clock_start: datetime | None = None
    allows_loopback_webhooks: bool = False
    log_level: str = "info"
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def store_url(self) -> str:
        """The log of the platform: the one that the environment names, else a file in the folder."""
        return self.environment.get(STORE_URL_VARIABLE) or default_store_url(self.var)


def default_store_url(var: Path) -> str:
    """The log as a file in the folder of a platform."""
    return f"sqlite:///{(var / 'log' / 'events.db').absolute()}"


def service_environment(
    settings: PlatformSettings, process: str, addresses: Mapping[str, str], import_paths: Sequence[str]
) -> dict[str, str]:
    """All variables of one process. On loopback there is no TLS."""
    variables = {
        **{name: value for name, value in settings.environment.items() if not name.startswith(TLS_PREFIX)},
        **{address_variable(service): addresses[service] for service in SERVICES},
        **no_proxy_on_loopback(settings.environment),
        STORE_URL_VARIABLE: settings.store_url,
        "METERLOG_VAR": str(settings.var.absolute()),
        "METERLOG_LISTEN": addresses[process],
        "METERLOG_LOG_FORMAT": "json",
        "METERLOG_LOG_LEVEL": settings.log_level,
        "PYTHONPATH": os.pathsep.join(path for path in import_paths if path),
        "PYTHONUNBUFFERED": "1",
    }
    if settings.is_clock_simulated:
        variables["METERLOG_CLOCK"] = "simulated"
        variables["METERLOG_CLOCK_START"] = instant_text(settings.clock_start) if settings.clock_start else ""
    if settings.allows_loopback_webhooks:
        variables["METERLOG_WEBHOOK_ALLOW_CIDRS"] = LOOPBACK_CIDRS
        variables["METERLOG_WEBHOOK_ALLOW_HTTP"] = "true"
    return variables
