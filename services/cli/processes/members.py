"""The processes of a platform: one of each service, and further aggregators where several are asked for."""

from typing import Final

from services.cli.addresses import SERVICES

REPLICATED: Final = "aggregator"
AGGREGATORS_MAX: Final = 4


def process_names(aggregators: int = 1) -> tuple[str, ...]:
    """The services, then what comes beside the first aggregator: `aggregator-2`, `aggregator-3`, …"""
    return (*SERVICES, *(f"{REPLICATED}-{number}" for number in range(2, aggregators + 1)))


def service_of(process: str) -> str:
    """The service that a process runs."""
    return process.partition("-")[0]
