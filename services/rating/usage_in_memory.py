"""A UsageReader without an aggregator: sums what it is told. For tests and for trying plans out."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from services.eventstore.event import Position
from services.kernel.calendar import Span
from services.kernel.errors import Corrupt, DomainError
from services.kernel.quantity import total
from services.rating.usage_reader import MeterState, UsageRead


class UsageInMemory:
    """Meters that sum. `fail` makes the next answers fail, until `recover`."""

    def __init__(self, meters: Sequence[str]) -> None:
        self._meters = dict.fromkeys(meters, MeterState.IN_USE)
        self._recorded: list[tuple[str, str, datetime, Decimal]] = []
        self._failures: dict[str, DomainError] = {}

    def record(self, customer: str, meter: str, at: datetime, value: Decimal) -> None:
        """Count `value` in."""
        self._recorded.append((customer, meter, at, value))

    def archive(self, meter: str) -> None:
        """Take the meter out of use."""
        self._meters[meter] = MeterState.ARCHIVED

    def fail(self, customer: str, error: DomainError) -> None:
        """Answer every question about this customer with the error."""
        self._failures[customer] = error

    def recover(self) -> None:
        """Answer everybody again."""
        self._failures.clear()

    def usage(
        self,
        meters: Sequence[str],
        customer: str,
        period: Span,
        min_position: Position,
        timeout_s: float,  # noqa: ARG002 (the port's signature)
    ) -> UsageRead:
        """As in `UsageReader`."""
        if customer in self._failures:
            raise self._failures[customer]
        unknown = [meter for meter in meters if meter not in self._meters]
        if unknown:
            raise Corrupt(f"no meters {unknown}: a plan names only meters that exist")
        return UsageRead({meter: self._total(meter, customer, period) for meter in meters}, min_position)

    def meter_state(self, slug: str, timeout_s: float) -> MeterState:  # noqa: ARG002 (the port's signature)
        """As in `UsageReader`."""
        return self._meters.get(slug, MeterState.ABSENT)

    def _total(self, meter: str, customer: str, period: Span) -> Decimal:
        return total(
            [value for who, what, at, value in self._recorded if (who, what) == (customer, meter) and at in period]
        )
