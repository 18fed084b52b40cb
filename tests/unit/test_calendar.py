"""The calendar at the moments at which calendars go wrong: shifts, skipped days, leap days, year ends, odd offsets."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from services.kernel.calendar import Span, Window, period_of, periods, windows

HOUR = timedelta(hours=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def lengths(kind: Window, zone: str, start: str, count: int) -> list[timedelta]:
    """How long some periods are that follow one another."""
    return [span.end - span.start for span in islice(periods(kind, at(start), ZoneInfo(zone)), count)]


def local(instant: datetime, zone: str) -> str:
    return instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None).isoformat(" ", "minutes")


# --- days that are not 24 hours long ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "start", "hours"),
    [
        ("Europe/Berlin", "2024-03-30T12:00", [24, 23, 24]),
        ("Europe/Berlin", "2024-10-26T12:00", [24, 25, 24]),
        ("America/New_York", "2024-03-09T12:00", [24, 23, 24]),
        ("Australia/Lord_Howe", "2024-04-05T15:00", [24, 24.5, 24]),
        ("Australia/Lord_Howe", "2024-10-04T15:00", [24, 23.5, 24]),
        ("Pacific/Chatham", "2024-04-05T15:00", [24, 25, 24]),
        ("Asia/Kathmandu", "2024-03-30T12:00", [24, 24, 24]),
    ],
)
def test_days_are_as_long_as_the_clock_makes_them(zone: str, start: str, hours: list[float]) -> None:
    assert [length / HOUR for length in lengths(Window.DAY, zone, start, 3)] == hours


@pytest.mark.parametrize(
    ("zone", "skipped", "before", "after"),
    [
        ("Pacific/Apia", "2011-12-30", "2011-12-29", "2011-12-31"),
        ("Pacific/Kwajalein", "1993-08-21", "1993-08-20", "1993-08-22"),
        ("Pacific/Enderbury", "1994-12-31", "1994-12-30", "1995-01-01"),
    ],
)
def test_a_day_that_never_was_has_no_period(zone: str, skipped: str, before: str, after: str) -> None:
    found = islice(periods(Window.DAY, at(before + "T18:00") - timedelta(days=2), ZoneInfo(zone)), 6)
    dates = [local(span.start, zone)[:10] for span in found]

    assert before in dates
    assert dates[dates.index(before) + 1] == after
    assert skipped not in dates


def test_a_week_and_a_month_without_a_day_are_a_day_shorter() -> None:
    zone, day = ZoneInfo("Pacific/Apia"), at("2011-12-29T12:00")

    assert period_of(Window.WEEK, day, zone).end - period_of(Window.WEEK, day, zone).start == timedelta(days=6)
    assert period_of(Window.MONTH, day, zone).end - period_of(Window.MONTH, day, zone).start == timedelta(days=30)


@pytest.mark.parametrize(
    ("zone", "start", "first_shown"),
    [
        ("America/Sao_Paulo", "2018-11-04T12:00", "2018-11-04 01:00"),
        ("Asia/Beirut", "2024-03-31T12:00", "2024-03-31 01:00"),
        ("Africa/Cairo", "2024-04-26T12:00", "2024-04-26 01:00"),
        ("America/Havana", "2024-03-10T12:00", "2024-03-10 01:00"),
    ],
)
def test_a_day_whose_midnight_the_clock_jumps_over_begins_with_the_jump(
    zone: str, start: str, first_shown: str
) -> None:
    day = period_of(Window.DAY, at(start), ZoneInfo(zone))

    assert local(day.start, zone) == first_shown
    assert day.end - day.start == 23 * HOUR
    assert len(list(windows(day, Window.HOUR, ZoneInfo(zone)))) == 23


@pytest.mark.parametrize(
    ("zone", "start"),
    [
        ("America/Sao_Paulo", "2018-02-17T12:00"),
        ("Africa/Cairo", "2023-10-26T12:00"),
        ("Asia/Beirut", "2024-10-26T12:00"),
    ],
)
def test_a_day_whose_last_hour_comes_twice_has_25_hours(zone: str, start: str) -> None:
    day = period_of(Window.DAY, at(start), ZoneInfo(zone))

    assert day.end - day.start == 25 * HOUR
    assert local(day.start, zone)[11:] == local(day.end, zone)[11:] == "00:00"


# --- hours and minutes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "minute"), [("Asia/Kolkata", 30), ("Asia/Kathmandu", 15), ("Pacific/Chatham", 15), ("UTC", 0)]
)
def test_hours_turn_when_the_clock_on_the_wall_does(zone: str, minute: int) -> None:
    hour = period_of(Window.HOUR, at("2024-06-01T10:20"), ZoneInfo(zone))

    assert hour.end - hour.start == HOUR
    assert hour.start.minute == minute
    assert local(hour.start, zone)[14:] == "00"


def test_an_hour_that_a_half_hour_shift_cuts_is_half_as_long() -> None:
    """On Lord Howe the clock goes from 02:00 to 02:30 in spring, and from 02:00 back to 01:30 in autumn."""
    zone = "Australia/Lord_Howe"
    spring = list(windows(Span(at("2024-10-05T14:30"), at("2024-10-05T17:00")), Window.HOUR, ZoneInfo(zone)))
    autumn = list(windows(Span(at("2024-04-06T13:00"), at("2024-04-06T16:30")), Window.HOUR, ZoneInfo(zone)))

    assert [local(span.start, zone)[11:] for span in spring] == ["01:00", "02:30", "03:00"]
    assert [local(span.start, zone)[11:] for span in autumn] == ["00:00", "01:00", "01:30", "02:00"]


def test_the_hour_that_comes_twice_is_two_periods() -> None:
    zone = ZoneInfo("Europe/Berlin")
    first, second = (
        period_of(Window.HOUR, at("2024-10-27T00:30"), zone),
        period_of(Window.HOUR, at("2024-10-27T01:30"), zone),
    )

    assert local(first.start, "Europe/Berlin") == local(second.start, "Europe/Berlin") == "2024-10-27 02:00"
    assert first.end == second.start


def test_minutes_turn_with_the_clock_even_where_offsets_have_seconds() -> None:
    """Amsterdam's clock ran 19 minutes and 32 seconds ahead until 1937."""
    amsterdam, utc = ZoneInfo("Europe/Amsterdam"), ZoneInfo("UTC")
    instant = at("1930-01-15T12:00:10")
    minute = period_of(Window.MINUTE, instant, amsterdam)

    assert minute.end - minute.start == timedelta(minutes=1)
    assert minute.start.astimezone(amsterdam).second == 0
    assert period_of(Window.MINUTE, instant, utc).start == at("1930-01-15T12:00")


def test_a_minute_is_sixty_seconds_of_any_modern_zone() -> None:
    for zone in ("UTC", "Asia/Kathmandu", "Pacific/Kiritimati"):
        span = Span(at("2024-02-29T23:58:30"), at("2024-03-01T00:00:30"))
        tiles = list(windows(span, Window.MINUTE, ZoneInfo(zone)))
        assert [(tile.end - tile.start).seconds for tile in tiles] == [30, 60, 30]


# --- weeks, months, quarters, years ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "monday"),
    [
        ("2024-12-30", "2024-12-30"),  # week 1 of 2025
        ("2024-12-29", "2024-12-23"),
        ("2021-01-03", "2020-12-28"),  # week 53 of 2020
        ("2024-02-29", "2024-02-26"),
        ("2023-01-01", "2022-12-26"),
    ],
)
def test_weeks_begin_on_monday_across_years(day: str, monday: str) -> None:
    week = period_of(Window.WEEK, at(day), ZoneInfo("UTC"))

    assert (week.start, week.end) == (at(monday), at(monday) + timedelta(days=7))


def test_a_leap_day_belongs_to_its_month_and_year() -> None:
    """lago #6173: around the 29th and the 31st days were billed twice, or never."""
    utc = ZoneInfo("UTC")
    february = period_of(Window.MONTH, at("2024-02-29T23:59:59"), utc)
    assert (february.start, february.end) == (at("2024-02-01"), at("2024-03-01"))
    assert period_of(Window.MONTH, at("2023-02-28T23:59:59"), utc).end == at("2023-03-01")
    assert [length.days for length in lengths(Window.YEAR, "UTC", "2023-05-05", 3)] == [365, 366, 365]
    assert [length.days for length in lengths(Window.MONTH, "UTC", "2024-01-31", 6)] == [31, 29, 31, 30, 31, 30]
    assert period_of(Window.YEAR, at("1900-02-28"), utc).end - at("1900-01-01") == timedelta(days=365)


def test_quarters_begin_in_january_april_july_and_october() -> None:
    found = islice(periods(Window.QUARTER, at("2023-12-31T23:30"), ZoneInfo("Europe/Berlin")), 5)

    assert [local(span.start, "Europe/Berlin")[:10] for span in found] == [
        "2024-01-01",
        "2024-04-01",
        "2024-07-01",
        "2024-10-01",
        "2025-01-01",
    ]


def test_a_month_that_holds_a_shift_is_an_hour_off() -> None:
    """killbill #1934: a fixed offset gives another month before and after the shift."""
    march, april = islice(periods(Window.MONTH, at("2024-03-15"), ZoneInfo("America/New_York")), 2)

    assert (march.start, march.end, april.end) == (
        at("2024-03-01T05:00"),
        at("2024-04-01T04:00"),
        at("2024-05-01T04:00"),
    )


@pytest.mark.parametrize(("zone", "hours"), [("Pacific/Kiritimati", -14), ("Etc/GMT-14", -14), ("Etc/GMT+12", 12)])
def test_years_turn_first_and_last_at_the_ends_of_the_world(zone: str, hours: int) -> None:
    year = period_of(Window.YEAR, at("2024-06-01"), ZoneInfo(zone))

    assert year == Span(at("2024-01-01") + hours * HOUR, at("2025-01-01") + hours * HOUR)


def test_the_last_instant_of_a_period_is_inside_and_its_end_is_not() -> None:
    """killbill #1438: usage on the last day was discarded."""
    month = period_of(Window.MONTH, at("2024-01-31T23:59:59.999999"), ZoneInfo("UTC"))

    assert month.end == at("2024-02-01")
    assert month.end - timedelta(microseconds=1) in month
    assert month.end not in month
    assert period_of(Window.MONTH, month.end, ZoneInfo("UTC")).start == month.end
