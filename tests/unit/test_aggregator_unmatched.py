"""Usage that no meter counts: a typing error is seen, not lost."""

from collections.abc import Iterator
from datetime import UTC, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.kernel.errors import InvalidInput
from services.projection.projection import RebuildMode
from tests.aggregator_room import DAY, WAIT_S, AggregatorRoom, call, open_room
from tests.databases import DATABASES
from tests.plain_usage import Event


@pytest.fixture(params=DATABASES)
def room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AggregatorRoom]:
    with open_room(tmp_path, database=request.param) as opened:
        yield opened


def usage(kind: str, hours: float) -> Event:
    return Event(kind, "ann", DAY + timedelta(hours=hours), Decimal(1), {})


def unmatched(room: AggregatorRoom) -> list[str]:
    return [each.type for each in room.unmatched.list(api.ListUnmatchedUsageRequest()).types]


def test_types_without_a_meter_are_told_with_count_times_and_positions(room: AggregatorRoom) -> None:
    room.create()
    first = room.record([usage("cal", 3), call(0), usage("cal", 1)])
    last = room.record([usage("cal", 2)])

    (told,) = room.unmatched.list(api.ListUnmatchedUsageRequest()).types

    assert (told.type, told.usage_event_count) == ("cal", 3)
    assert told.first_at.ToDatetime(UTC) == DAY + timedelta(hours=1)
    assert told.last_at.ToDatetime(UTC) == DAY + timedelta(hours=3)
    assert (told.first_position, told.last_position) == (first, last)


def test_a_type_is_matched_while_a_meter_in_use_counts_it(room: AggregatorRoom) -> None:
    room.record([call(0), usage("cal", 0)])
    assert unmatched(room) == ["cal", "call"]

    room.create()
    assert unmatched(room) == ["cal"]
    room.meters.archive(api.ArchiveMeterRequest(slug="tokens"), WAIT_S)
    assert unmatched(room) == ["cal", "call"]


def test_what_a_meter_counted_before_a_change_stays_matched(room: AggregatorRoom) -> None:
    created = room.create(group_by=[])
    room.record([call(0), usage("calls", 5)])
    changed = api.Meter(slug="tokens", event_type="calls", aggregation=created.aggregation)
    request = api.RedefineMeterRequest(slug="tokens", meter=changed, expected_version=1)
    request.effective_from.FromDatetime(DAY + timedelta(hours=4))
    room.meters.redefine(request, WAIT_S)
    assert unmatched(room) == []

    request.ClearField("effective_from")
    request.expected_version = 2
    room.meters.redefine(request, WAIT_S)
    assert unmatched(room) == ["call"]


def test_types_are_listed_by_name_page_by_page(room: AggregatorRoom) -> None:
    room.record([usage(name, 0) for name in ("d", "a", "c", "b", "e")])

    first = room.unmatched.list(api.ListUnmatchedUsageRequest(page_size=2))
    second = room.unmatched.list(api.ListUnmatchedUsageRequest(page_size=3, page_token=first.next_page_token))
    assert [[each.type for each in page.types] for page in (first, second)] == [["a", "b"], ["c", "d", "e"]]
    assert not second.next_page_token
    with pytest.raises(InvalidInput, match="another list"):
        room.unmatched.list(api.ListUnmatchedUsageRequest(page_token="WzEsMl0="))


def test_a_rebuild_counts_the_types_alike(room: AggregatorRoom) -> None:
    room.record([usage("a", 0), usage("b", 1)])
    room.record([usage("a", -5)])

    comparison = room.windows.rebuild(mode=RebuildMode.COMPARE_ONLY, progress=lambda _: None)
    assert comparison.is_equal
