"""Instants and lengths of time as people type them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from services.cli.instants import instant_text, parse_day_or_instant, parse_instant, parse_length
from services.kernel.errors import InvalidInput


def test_an_instant_is_taken_to_utc_and_written_with_z() -> None:
    assert instant_text(parse_instant("2026-03-29T03:30:00.5+02:00", "--to")) == "2026-03-29T01:30:00.500000Z"


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z"])
def test_what_is_no_instant_is_refused_with_its_name(text: str) -> None:
    with pytest.raises(InvalidInput, match="--to is"):
        parse_instant(text, "--to")


def test_the_first_instant_that_python_knows_is_refused_when_utc_would_lie_before_it() -> None:
    with pytest.raises(InvalidInput):
        parse_instant("0001-01-01T00:00:00+12:00", "--to")


def test_a_day_begins_at_midnight_of_the_zone() -> None:
    assert parse_day_or_instant("2026-01-31", ZoneInfo("Asia/Kolkata"), "--from") == datetime(
        2026, 1, 30, 18, 30, tzinfo=UTC
    )


def test_a_day_that_never_was_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no such day"):
        parse_day_or_instant("2026-02-30", ZoneInfo("UTC"), "--from")


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90m", timedelta(minutes=90)),
        ("31d", timedelta(days=31)),
        ("1s", timedelta(seconds=1)),
        ("6h", timedelta(hours=6)),
    ],
)
def test_a_length_of_time_has_one_unit(text: str, length: timedelta) -> None:
    assert parse_length(text, "--by") == length


@pytest.mark.parametrize("text", ["", "1", "m", "-1m", "1.5h", "1w", "1h30m", "99999999999s"])
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="--by is"):
        parse_length(text, "--by")


def test_an_instant_is_shown_in_utc_with_z_and_elsewhere_with_its_offset() -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert instant_text(noon) == "2026-01-31T12:00:00Z"
    assert instant_text(noon, ZoneInfo("UTC")) == "2026-01-31T12:00:00Z"
    assert instant_text(noon, ZoneInfo("Asia/Kathmandu")) == "2026-01-31T17:45:00+05:45"
