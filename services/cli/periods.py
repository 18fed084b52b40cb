"""Closed periods, as the commands read them."""

from collections.abc import Iterable, Iterator
from threading import Event
from typing import Final

from meterlog.aggregator.v1 import aggregator_pb2 as aggregator
from services.cli.connection import Services
from services.cli.failure import CommandFailed
from services.cli.paging import PAGE_SIZE, every_page
from services.kernel.clock import monotonic_s

POLL_S: Final = 0.1


def list_closed(
    services: Services, customer: str = "", period: str = "", *, only_restated: bool = False
) -> Iterator[aggregator.ClosedPeriod]:
    """Closed periods, newest first; of one customer, or of one kind, unless empty."""

    def fetch(token: str) -> tuple[Iterable[aggregator.ClosedPeriod], str]:
        request = aggregator.ListClosedPeriodsRequest(
            subject=customer, period=period, only_restated=only_restated, page_size=PAGE_SIZE, page_token=token
        )
        response = services.aggregator.call(services.meters.ListClosedPeriods, request)
        return response.periods, response.next_page_token

    return every_page(fetch)


def count_closed(services: Services) -> int:
    """How many periods of customers are closed."""

    return sum(1 for _ in list_closed(services))


def wait_until_closed(services: Services, count: int, timeout_s: float) -> None:
    """Return when so many periods are closed; raises CommandFailed."""
    deadline = monotonic_s() + timeout_s
    while (closed := count_closed(services)) < count:
        if monotonic_s() > deadline:
            raise CommandFailed(
                f"{closed} of {count} periods are closed after {timeout_s:.0f} s; look into the aggregator's log",
                reason="PERIODS_STAY_OPEN",
            )
        Event().wait(POLL_S)
