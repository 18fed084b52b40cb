"""The ports of a platform's processes: consecutive ones, or any that are free; looked at before anything starts."""

import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from services.cli.addresses import LOOPBACK, SERVICES
from services.cli.failure import misused

ANY_PORT: Final = 0
PORT_MAX: Final = 65_535


def choose_addresses(port_base: int, processes: Sequence[str] = SERVICES) -> dict[str, str]:
    """An address for each process, from `port_base` upwards, or wherever there is room for ANY_PORT."""
    if port_base == ANY_PORT:
        return _free_addresses(processes)
    last_base = PORT_MAX - len(processes) + 1
    if not 1 <= port_base <= last_base:
        raise misused(
            f"port {port_base} leaves no room for {len(processes)} ports; choose 1 to {last_base}, or 0 for any"
        )
    addresses = {process: f"{LOOPBACK}:{port_base + index}" for index, process in enumerate(processes)}
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


def _free_addresses(processes: Sequence[str]) -> dict[str, str]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in processes]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return {
            process: f"{LOOPBACK}:{probe.getsockname()[1]}" for process, probe in zip(processes, probes, strict=True)
        }
