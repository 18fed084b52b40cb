"""Kinds of periods: a length of the calendar in a time zone, such as "month" (UTC) or "day@Europe/Berlin"."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.kernel.calendar import Span, Window, period_of, time_zone
from services.kernel.clock import from_epoch_us
from services.kernel.errors import InvalidInput

UTC = "UTC"
KINDS_MAX = 20
"""Kinds that close by themselves; each costs a closing a subject and period."""

LENGTHS = (Window.HOUR, Window.DAY, Window.WEEK, Window.MONTH, Window.QUARTER, Window.YEAR)

_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, order=True)
class PeriodKind:
    """Periods of one length that follow the calendar of one IANA time zone."""

    length: Window
    zone: str = UTC

    @staticmethod
    def of(length: str, zone: str, *, field: str = "period", zone_field: str = "time_zone") -> "PeriodKind":
        """The kind of that length in that zone (empty: UTC); raises InvalidInput that names the field."""
        if length not in LENGTHS:
            raise InvalidInput(
                f'{field} is "{length[:60]}"; choose one of {", ".join(LENGTHS)}', field=field, reason="UNKNOWN_PERIOD"
            )
        return PeriodKind(Window(length), time_zone(zone or UTC, zone_field).key)

    @staticmethod
    def parse(key: str, field: str = "period") -> "PeriodKind":
        """The kind that is written so; raises InvalidInput that names the field."""
        length, at, zone = key.partition("@")
        if at and not zone:
            raise InvalidInput(
                f'{field} is "{key[:60]}"; name a time zone behind the "@", or leave it out',
                field=field,
                reason="NO_ZONE",
            )
        return PeriodKind.of(length, zone, field=field, zone_field=field)

    @staticmethod
    def stored(key: str) -> "PeriodKind":
        """The kind of a key that was stored: its zone may be one that this machine does not know."""
        length, _, zone = key.partition("@")
        return PeriodKind(Window(length), zone or UTC)

    @property
    def key(self) -> str:
        """How it is written."""
        return period_key(self.length, self.zone)

    def period_of(self, instant: datetime) -> Span:
        """The period that holds `instant`; raises InvalidInput at the ends of the calendar."""
        try:
            return period_of(self.length, instant, time_zone(self.zone))
        except (OverflowError, ValueError) as error:
            raise InvalidInput(
                f"the {self.length} of {instant:%Y-%m-%d} reaches beyond the years 1 to 9999; choose another instant",
                field="at",
                reason="PERIOD_BEYOND_CALENDAR",
            ) from error

    def periods_of_hour(self, hour_us: int) -> Iterator[Span]:
        """The periods that share an instant with the UTC hour from `hour_us` on; none where the calendar ends."""
        start, zone = from_epoch_us(hour_us), time_zone(self.zone)
        try:
            period = period_of(self.length, start, zone)
            yield period
            while period.end < start + _HOUR:
                period = period_of(self.length, period.end, zone)
                yield period
        except (OverflowError, ValueError):
            return


def period_key(length: str, zone: str) -> str:
    """How a kind of period is written: the length alone for UTC (or no zone), else <length>@<zone>."""
    return str(length) if zone in ("", UTC) else f"{length}@{zone}"


def parse_period_kinds(text: str, field: str) -> tuple[PeriodKind, ...]:
    """The kinds of a comma list such as "month,day@Europe/Berlin", each once; "none" is none. Raises InvalidInput."""
    if text.strip() in ("", "none"):
        return ()
    kinds = tuple(dict.fromkeys(PeriodKind.parse(part.strip(), field) for part in text.split(",")))
    if len(kinds) > KINDS_MAX:
        raise InvalidInput(
            f"{field} has {len(kinds)} kinds; use at most {KINDS_MAX}", field=field, reason="TOO_MANY_KINDS"
        )
    return kinds
