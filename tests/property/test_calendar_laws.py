"""Laws of the calendar: windows and months tile any span in any time zone."""

from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.kernel.calendar import Span, Window, month_of, months, period_of, time_zone, windows
from services.kernel.errors import InvalidInput

INSTANT = timedelta(microseconds=1)
ZONES = [
    "UTC",
    "Africa/Cairo",
    "Africa/Monrovia",
    "America/Havana",
    "America/Juneau",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "America/Toronto",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Asia/Manila",
    "Australia/Lord_Howe",
    "Etc/GMT+12",
    "Europe/Amsterdam",
    "Europe/Dublin",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
    "Pacific/Kwajalein",
]
KINDS = [each for each in Window if each is not Window.NONE]
NESTED = [*(pair for pair in pairwise(KINDS) if Window.WEEK not in pair), (Window.DAY, Window.MONTH)]
zones = st.sampled_from(ZONES).map(ZoneInfo)
instants = st.timedeltas(timedelta(0), timedelta(days=200 * 365)).map(datetime(1890, 1, 1, tzinfo=UTC).__add__)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    start = draw(instants)
    return Span(start, start + draw(st.timedeltas(INSTANT, timedelta(days=100))))


def around(zone: str, when: str) -> tuple[ZoneInfo, Span]:
    """Two days on either side of a moment at which something odd happened to a clock."""
    moment = datetime.fromisoformat(when).replace(tzinfo=UTC)
    return ZoneInfo(zone), Span(moment - timedelta(days=2), moment + timedelta(days=2))


ODD_MOMENTS = [
    around("Pacific/Apia", "2011-12-30T10:00"),
    around("America/Toronto", "1919-03-31T04:30"),
    around("America/St_Johns", "2009-11-01T02:31"),
    around("Australia/Lord_Howe", "2024-04-06T15:00"),
    around("Pacific/Kwajalein", "1993-08-21T12:00"),
    around("America/Havana", "2024-11-03T05:00"),
]


def local_day(instant: datetime, zone: ZoneInfo) -> date:
    return instant.astimezone(zone).date()


def local_month(instant: datetime, zone: ZoneInfo) -> tuple[int, int]:
    local = instant.astimezone(zone)
    return local.year, local.month


@given(spans(), st.sampled_from(sorted(Window)), zones)
@example(ODD_MOMENTS[0][1], Window.DAY, ODD_MOMENTS[0][0])
@example(ODD_MOMENTS[2][1], Window.MONTH, ODD_MOMENTS[2][0])
@example(ODD_MOMENTS[3][1], Window.MINUTE, ODD_MOMENTS[3][0])
def test_windows_tile_the_span_without_gap_or_overlap(span: Span, window: Window, zone: ZoneInfo) -> None:
    if window is Window.MINUTE:
        span = Span(span.start, min(span.end, span.start + timedelta(hours=5)))
    tiles = list(windows(span, window, zone))

    assert tiles[0].start == span.start
    assert tiles[-1].end == span.end
    assert all(left.end == right.start for left, right in pairwise(tiles))
    assert all(tile.start < tile.end for tile in tiles)


@given(instants, st.sampled_from(KINDS), zones, st.floats(0, 1, exclude_max=True))
@example(datetime(2009, 11, 1, 3, tzinfo=UTC), Window.MONTH, ZoneInfo("America/St_Johns"), 0.0)
@example(datetime(1987, 10, 25, 2, 31, tzinfo=UTC), Window.HOUR, ZoneInfo("America/St_Johns"), 0.5)
@example(datetime(1972, 1, 7, 0, 44, 30, tzinfo=UTC), Window.HOUR, ZoneInfo("Africa/Monrovia"), 0.9)
@example(datetime(1867, 10, 18, 23, tzinfo=UTC), Window.DAY, ZoneInfo("America/Juneau"), 0.9)
def test_every_instant_of_a_period_asks_for_that_period(
    instant: datetime, kind: Window, zone: ZoneInfo, part: float
) -> None:
    period = period_of(kind, instant, zone)
    within = period.start + timedelta(microseconds=int((period.end - period.start) / INSTANT * part))

    assert instant in period
    assert {period_of(kind, each, zone) for each in (period.start, within, period.end - INSTANT)} == {period}
    assert period_of(kind, period.end, zone).start == period.end
    assert period_of(kind, period.start - INSTANT, zone).end == period.start


@given(instants, zones, st.sampled_from(NESTED))
@example(datetime(1919, 3, 31, 4, tzinfo=UTC), ZoneInfo("America/Toronto"), (Window.HOUR, Window.DAY))
@example(datetime(1987, 10, 25, 2, 31, tzinfo=UTC), ZoneInfo("America/St_Johns"), (Window.HOUR, Window.DAY))
@example(datetime(2011, 12, 30, 10, tzinfo=UTC), ZoneInfo("Pacific/Apia"), (Window.HOUR, Window.DAY))
def test_longer_periods_begin_and_end_where_shorter_ones_do(
    instant: datetime, zone: ZoneInfo, kinds: tuple[Window, Window]
) -> None:
    """So the sum of closed days is the closed month, and the sum of closed hours the closed day."""
    shorter, longer = kinds
    period = period_of(longer, instant, zone)

    assert period_of(shorter, period.start, zone).start == period.start
    assert period_of(shorter, period.end - INSTANT, zone).end == period.end


@given(instants, zones)
def test_days_tile_weeks(instant: datetime, zone: ZoneInfo) -> None:
    week = period_of(Window.WEEK, instant, zone)
    days = list(windows(week, Window.DAY, zone))

    assert all(period_of(Window.DAY, day.start, zone) == day for day in days)
    assert 6 <= len(days) <= 7  # a week of which one day never was has six


@given(spans(), zones)
def test_hours_turn_with_the_clock_on_the_wall(span: Span, zone: ZoneInfo) -> None:
    for tile in list(islice(windows(span, Window.HOUR, zone), 500))[1:]:
        assert tile.end - tile.start <= timedelta(hours=1)
        before, after = tile.start.astimezone(zone), (tile.start - INSTANT).astimezone(zone)
        assert (before.minute, before.second) == (0, 0) or before.utcoffset() != after.utcoffset()


@given(spans(), zones)
@example(ODD_MOMENTS[0][1], ODD_MOMENTS[0][0])
@example(ODD_MOMENTS[1][1], ODD_MOMENTS[1][0])
@example(ODD_MOMENTS[2][1], ODD_MOMENTS[2][0])
@example(ODD_MOMENTS[4][1], ODD_MOMENTS[4][0])
@example(ODD_MOMENTS[5][1], ODD_MOMENTS[5][0])
def test_a_day_begins_with_the_first_instant_of_its_date(span: Span, zone: ZoneInfo) -> None:
    for tile in list(windows(span, Window.DAY, zone))[1:]:
        today = local_day(tile.start, zone)
        assert local_day(tile.start - INSTANT, zone) < today
        steps = (tile.end - tile.start) // timedelta(minutes=15)
        inside = [tile.start + step * timedelta(minutes=15) for step in range(steps)]
        assert all(local_day(instant, zone) <= today for instant in [*inside, tile.end - INSTANT])


@given(instants, zones)
@example(datetime(2009, 11, 1, 3, tzinfo=UTC), ZoneInfo("America/St_Johns"))
def test_a_month_holds_the_instants_that_ask_for_it(instant: datetime, zone: ZoneInfo) -> None:
    month = month_of(instant, zone)

    assert instant in month
    assert month_of(month.start, zone) == month
    assert local_month(month.start - INSTANT, zone) < local_month(month.start, zone) < local_month(month.end, zone)


@given(instants, zones)
def test_months_follow_one_another_for_ever(instant: datetime, zone: ZoneInfo) -> None:
    sequence = list(islice(months(instant, zone), 25))

    assert sequence[0] == month_of(instant, zone)
    assert all(left.end == right.start for left, right in pairwise(sequence))
    numbers = [year * 12 + month for year, month in (local_month(each.start, zone) for each in sequence)]
    assert numbers == list(range(numbers[0], numbers[0] + 25))


def test_the_31st_and_the_29th_of_february_end_their_months() -> None:
    january, february, march = islice(months(datetime(2024, 1, 31, 23, 59, tzinfo=UTC), ZoneInfo("UTC")), 3)

    assert january.end == february.start == datetime(2024, 2, 1, tzinfo=UTC)
    assert february.end == march.start == datetime(2024, 3, 1, tzinfo=UTC)


def test_a_day_in_new_york_has_23_hours_in_spring_and_25_in_autumn() -> None:
    zone = ZoneInfo("America/New_York")
    for day, hours in ((datetime(2024, 3, 10, 5, tzinfo=UTC), 23), (datetime(2024, 11, 3, 4, tzinfo=UTC), 25)):
        tile = next(windows(Span(day, day + timedelta(days=3)), Window.DAY, zone))
        assert tile.end - tile.start == timedelta(hours=hours)
        assert len(list(windows(tile, Window.HOUR, zone))) == hours


def test_a_day_that_never_was_has_no_window() -> None:
    zone, span = ODD_MOMENTS[0]
    days = [tile.start.astimezone(zone).day for tile in windows(span, Window.DAY, zone)]

    assert days == [28, 29, 31, 1]


def test_a_midnight_that_the_clock_jumps_over_is_the_instant_of_the_jump() -> None:
    zone, span = ODD_MOMENTS[1]
    edges = [tile.start for tile in windows(span, Window.DAY, zone)]

    assert datetime(1919, 3, 31, 4, 30, tzinfo=UTC) in edges


@pytest.mark.parametrize("name", ["", "Mars/Phobos", "../etc/passwd", "/etc/passwd", "Europe/Berlin\x00", "x" * 300])
def test_a_name_that_is_no_time_zone_is_refused_by_its_field(name: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        time_zone(name, "query.time_zone")

    assert refusal.value.field == "query.time_zone"
    assert refusal.value.reason == "UNKNOWN_TIME_ZONE"
