"""Where the four services answer: from the environment, else from a running `meterlog up`, else the default ports."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.cli.failure import CommandFailed

SERVICES: Final = ("ingest", "aggregator", "rating", "notifier")
DEFAULT_PORT_BASE: Final = 7401
LOOPBACK: Final = "127.0.0.1"
ADDRESSES_FILE: Final = "addresses.json"


@dataclass(frozen=True, slots=True)
class Running:
    """What `meterlog up` tells the other commands: its process, its log, and the address of each service."""

    pid: int
    store_url: str
    addresses: Mapping[str, str]


def find_addresses(var: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The address of every service; the variable METERLOG_<SERVICE>_ADDRESS wins, for each service by itself."""
    running = read_running(var)
    known = running.addresses if running else default_addresses()
    return {service: environment.get(address_variable(service)) or known[service] for service in SERVICES}


def address_variable(service: str) -> str:
    """The environment variable that names a service's address."""
    return f"METERLOG_{service.upper()}_ADDRESS"


def default_addresses(port_base: int = DEFAULT_PORT_BASE) -> dict[str, str]:
    """Consecutive loopback ports, in the order of SERVICES."""
    return {service: f"{LOOPBACK}:{port_base + index}" for index, service in enumerate(SERVICES)}


def read_running(var: Path) -> Running | None:
    """What a running `meterlog up` wrote; None without one, also when it was killed and left its file behind."""
    path = var / ADDRESSES_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        running = Running(int(document["pid"]), str(document["store_url"]), dict(document["addresses"]))
        _ = [running.addresses[service] for service in SERVICES]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandFailed(f"{path} cannot be read; remove it, or start `meterlog up` again") from error
    return running if is_alive(running.pid) else None


def write_running(var: Path, running: Running) -> None:
    """Tell the other commands; the file appears whole or not at all."""
    document = {"pid": running.pid, "store_url": running.store_url, "addresses": dict(running.addresses)}
    draft = var / f"{ADDRESSES_FILE}.new"
    draft.touch(mode=0o600)  # the log's URL may hold a password
    draft.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    draft.replace(var / ADDRESSES_FILE)


def remove_running(var: Path) -> None:
    """Tell the other commands that nothing runs any more."""
    (var / ADDRESSES_FILE).unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Whether a process of that id runs, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
