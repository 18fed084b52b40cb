"""The ports of the four services: consecutive ones, or any that are free; always looked at before anything starts."""

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final

from services.cli.addresses import LOOPBACK, SERVICES, default_addresses
from services.cli.failure import misused

ANY_PORT: Final = 0
PORT_MAX: Final = 65_535


def choose_addresses(port_base: int) -> dict[str, str]:
    """An address for each service, from `port_base` upwards, or wherever there is room for ANY_PORT."""
    if port_base == ANY_PORT:
        return _free_addresses()
    if not 1 <= port_base <= PORT_MAX - len(SERVICES) + 1:
        raise misused(f"port {port_base} leaves no room for {len(SERVICES)} ports; choose 1 to 65532, or 0 for any")
    addresses = default_addresses(port_base)
    require_free(addresses)
    return addresses


def require_free(addresses: Mapping[str, str]) -> None:
    """Raise CommandFailed that names every port that cannot be listened on, and for which service."""
    taken = [f"{address} ({service})" for service, address in addresses.items() if not _is_free(address)]
    if taken:
        raise misused(
            f"in use already: {', '.join(taken)}; stop what listens there, or choose other ports with --port-base",
            "PORT_IN_USE",
        )


def _is_free(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
            probe.listen()
        except OSError:
            return False
    return True


def _free_addresses() -> dict[str, str]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in SERVICES]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return {
            service: f"{LOOPBACK}:{probe.getsockname()[1]}" for service, probe in zip(SERVICES, probes, strict=True)
        }
