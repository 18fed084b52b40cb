"""Billing periods tile a subscription's life in the customer's calendar."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from services.kernel.calendar import Span
from services.kernel.errors import InvalidInput
from services.rating.billing_period import end_when_cancelled, invoice_id, period_from, require_month_start

JANUARY = Span(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC))
GRACE = timedelta(hours=1)
BERLIN = ZoneInfo("Europe/Berlin")


def test_a_subscription_cancelled_before_its_start_is_never_billed() -> None:
    assert end_when_cancelled(JANUARY.start, BERLIN, JANUARY.start - GRACE) == JANUARY.start
    assert end_when_cancelled(JANUARY.start, ZoneInfo("UTC"), JANUARY.start) == JANUARY.end


@pytest.mark.parametrize(
    ("start_at", "zone"),
    [("2024-01-01T00:00", "UTC"), ("2024-03-31T22:00", "Europe/Berlin"), ("2023-12-31T18:30", "Asia/Kolkata")],
)
def test_a_subscription_may_start_with_a_month_of_the_customers_calendar(start_at: str, zone: str) -> None:
    instant = datetime.fromisoformat(start_at).replace(tzinfo=UTC)
    assert require_month_start(instant, ZoneInfo(zone), "start_at") == instant


def test_a_start_inside_a_month_is_answered_with_the_nearest_that_are_right() -> None:
    with pytest.raises(InvalidInput, match=r"2024-02-29T23:00:00Z and 2024-03-31T22:00:00Z") as refusal:
        require_month_start(datetime(2024, 3, 1, tzinfo=UTC), BERLIN, "subscription.start_at")
    assert refusal.value.field == "subscription.start_at"


@pytest.mark.parametrize("year", [1, 1999, 2200, 9999])
def test_a_start_out_of_range_is_refused(year: int) -> None:
    with pytest.raises(InvalidInput, match="2000 to 2199"):
        require_month_start(datetime(year, 1, 1, tzinfo=UTC), BERLIN, "start_at")


def test_periods_tile_also_when_the_rules_of_a_zone_were_changed_since() -> None:
    begun_an_hour_early = datetime(2024, 6, 30, 21, tzinfo=UTC)
    assert period_from(begun_an_hour_early, BERLIN) == Span(begun_an_hour_early, datetime(2024, 7, 31, 22, tzinfo=UTC))
    begun_an_hour_late = datetime(2024, 6, 30, 23, tzinfo=UTC)
    assert period_from(begun_an_hour_late, BERLIN) == Span(begun_an_hour_late, datetime(2024, 7, 31, 22, tzinfo=UTC))


def test_a_period_has_one_invoice_id_and_other_periods_have_others() -> None:
    first = invoice_id("acme-sub", JANUARY.start)
    assert first == invoice_id("acme-sub", JANUARY.start)
    assert len({first, invoice_id("acme-sub", JANUARY.end), invoice_id("other-sub", JANUARY.start)}) == 3
