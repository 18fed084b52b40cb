"""What happens to a month after it was closed: late usage, an amendment, a cancelled batch, and its reversal."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from threading import Event
from typing import Final

from rich.table import Table

from meterlog.aggregator.v1 import aggregator_pb2 as aggregator
from meterlog.aggregator.v1 import correction_pb2 as correction
from meterlog.ingest.v1 import ingest_pb2 as ingest
from services.cli.connection import Services
from services.cli.corrections import DECISION_TIMEOUT_S
from services.cli.demo.declarations import EVENT_TYPE, METERS
from services.cli.demo.trace import CUSTOMERS, Trace
from services.cli.failure import CommandFailed
from services.cli.periods import list_closed
from services.kernel.clock import monotonic_s
from services.kernel.quantity import add, decimal_text
from services.kernel.timestamp import to_timestamp

LATE_EVENTS: Final = 200
LATE_SOURCE: Final = "agent-that-was-offline"
LATE_TOKENS: Final = {"input_tokens": "100", "output_tokens": "10"}
AMENDED_BY: Final = 50_000
TIMEOUT_S: Final = 60.0

_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Repair:
    """One thing that happened to a closed month, and the totals of its customer afterwards, by meter."""

    what: str
    totals: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Repaired:
    """The month of one customer as it was closed, and then repair by repair; `amended_from` is the number before."""

    customer: str
    closed: Mapping[str, str]
    amended_from: str
    repairs: tuple[Repair, ...]


def repair(services: Services, trace: Trace) -> Repaired:
    """Play the four repairs, each only after the one before was restated, so that every run writes the same log."""
    customer = next(name for name in CUSTOMERS if trace.counts[name].requests)
    month = _MonthOf(services, customer, trace)
    closed = month.restated(0)
    event = _first_usage_event(services, customer, trace)
    repairs = []
    for number, (what, act) in enumerate(_acts(services, customer, trace, event), start=1):
        act()
        repairs.append(Repair(what, month.restated(number)))
    return Repaired(customer, closed, event.properties["input_tokens"], tuple(repairs))


def _acts(
    services: Services, customer: str, trace: Trace, event: aggregator.RecordedUsageEvent
) -> tuple[tuple[str, Callable[[], None]], ...]:
    return (
        (f"{LATE_EVENTS} come late", lambda: _record_late(services, customer, trace)),
        (f"one is amended, +{AMENDED_BY}", lambda: _amend(services, event)),
        (f"the {LATE_EVENTS} are cancelled", lambda: _cancel_late(services)),
        ("that is reverted", lambda: _revert(services)),
    )


def repairs_table(repaired: Repaired) -> Table:
    """The totals of the month, one row a repair."""
    table = Table("", *METERS, title=f"The closed month of {repaired.customer}")
    for column in table.columns[1:]:
        column.justify = "right"
    for what, totals in (("closed", repaired.closed), *((each.what, each.totals) for each in repaired.repairs)):
        table.add_row(what, *(totals[meter] for meter in METERS))
    return table


class _MonthOf:
    """The first month of the trace, as the aggregator closed and restated it for one customer."""

    def __init__(self, services: Services, customer: str, trace: Trace) -> None:
        self._services = services
        self._customer = customer
        self._start = to_timestamp(trace.billed_months[0].start)

    def restated(self, times: int) -> Mapping[str, str]:
        """The totals, as soon as the month was restated so often."""
        deadline = monotonic_s() + TIMEOUT_S
        while True:
            for period in list_closed(self._services, self._customer):
                if period.start_at == self._start and len(period.restatements) == times:
                    return {meter: period.totals[meter] for meter in METERS}
            if monotonic_s() > deadline:
                raise CommandFailed(
                    f"the month of {self._customer} was not restated {times} times within {TIMEOUT_S:.0f} s; look "
                    "into the aggregator's log",
                    reason="MONTH_NOT_RESTATED",
                )
            Event().wait(_POLL_S)


def _first_usage_event(services: Services, customer: str, trace: Trace) -> aggregator.RecordedUsageEvent:
    month = trace.billed_months[0]
    request = aggregator.ListUsageEventsRequest(
        subject=customer, start_at=to_timestamp(month.start), end_at=to_timestamp(month.end), page_size=1
    )
    return services.aggregator.call(services.meters.ListUsageEvents, request).events[0]


def _record_late(services: Services, customer: str, trace: Trace) -> None:
    request = ingest.RecordUsageRequest(atomic=True)
    for number in range(LATE_EVENTS):
        request.events.add(
            id=f"late-{number}",
            source=LATE_SOURCE,
            type=EVENT_TYPE,
            subject=customer,
            time=to_timestamp(trace.first_at),
            properties=LATE_TOKENS,
        )
    services.ingest.call(services.recording.RecordUsage, request)


def _amend(services: Services, event: aggregator.RecordedUsageEvent) -> None:
    properties = dict(event.properties)
    properties["input_tokens"] = decimal_text(add(Decimal(properties["input_tokens"]), Decimal(AMENDED_BY)))
    request = correction.AmendUsageRequest(
        key="high-digits-lost",
        name=correction.UsageName(source=event.source, id=event.id, position=event.position),
        properties=correction.NewProperties(properties=properties),
        reason="the counter lost its high digits",
        decided_by="demonstration",
    )
    services.aggregator.call(services.corrections.AmendUsage, request, DECISION_TIMEOUT_S)


def _cancel_late(services: Services) -> None:
    chosen = correction.UsageFilter(sources=[LATE_SOURCE])
    preview = services.aggregator.call(
        services.corrections.PreviewCancellation,
        correction.PreviewCancellationRequest(filter=chosen),
        DECISION_TIMEOUT_S,
    )
    request = correction.CancelUsageRequest(
        key="late-batch",
        filter=chosen,
        expected_count=preview.usage_event_count,
        until_position=preview.position,
        reason="the late batch is suspected to be a copy",
        decided_by="demonstration",
    )
    services.aggregator.call(services.corrections.CancelUsage, request, DECISION_TIMEOUT_S)


def _revert(services: Services) -> None:
    request = correction.RevertCorrectionRequest(key="late-batch", reason="it was no copy", decided_by="demonstration")
    services.aggregator.call(services.corrections.RevertCorrection, request, DECISION_TIMEOUT_S)
