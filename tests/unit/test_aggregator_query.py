"""Usage as it is asked for over the API: windows, zones, groups, subjects, and what is refused."""

from collections.abc import Iterator
from datetime import UTC, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.kernel.timestamp import to_timestamp
from services.projection.projection import RebuildMode
from tests.aggregator_room import DAY, WAIT_S, AggregatorRoom, call, open_room
from tests.databases import DATABASES
from tests.plain_usage import Event


@pytest.fixture(params=DATABASES)
def room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AggregatorRoom]:
    with open_room(tmp_path, database=request.param) as opened:
        yield opened


def values(response: api.QueryUsageResponse) -> list[str | None]:
    return [row.value if row.HasField("value") else None for row in response.rows]


def groups(response: api.QueryUsageResponse) -> list[tuple[dict[str, str], str]]:
    return [(dict(row.group), row.value) for row in response.rows]


def test_a_window_takes_its_first_instant_and_leaves_its_last(room: AggregatorRoom) -> None:
    room.create()
    room.record([call(0, "1"), call(1, "2"), call(24, "4"), call(-1 / 3600, "8")])

    assert values(room.ask()) == ["3"]
    assert values(room.ask(window=api.WINDOW_HOUR))[:3] == ["1", "2", "0"]


def test_the_answer_says_up_to_which_position_usage_is_counted(room: AggregatorRoom) -> None:
    room.create()
    position = room.record([call(0)])

    assert room.ask(min_position=position).position == position


def test_a_caller_reads_what_it_wrote(room: AggregatorRoom) -> None:
    room.create()
    for number in range(1, 6):
        written = room.log.record([call(0)])
        assert values(room.ask(min_position=written)) == [str(number)]


def test_windows_without_usage_are_zero_or_have_no_value(room: AggregatorRoom) -> None:
    for name in ("COUNT", "SUM", "MIN", "MAX", "AVG", "FIRST", "LAST", "UNIQUE_COUNT"):
        room.create(name.lower(), aggregation=api.Aggregation.Value(f"AGGREGATION_{name}"))

    empty = {name: values(room.ask(name)) for name in ("count", "sum", "unique_count", "min", "max", "avg", "first")}

    zero, none = ["0"], [None]
    assert empty == {
        "count": zero,
        "sum": zero,
        "unique_count": zero,
        "min": none,
        "max": none,
        "avg": none,
        "first": none,
    }
    assert values(room.ask("last")) == none


def test_a_group_that_does_not_occur_in_a_window_has_no_row(room: AggregatorRoom) -> None:
    room.create()
    room.record([call(0, region="eu"), call(0, "2", region="us"), call(5, "4", region="eu"), call(5, "8")])

    rows = room.ask(window=api.WINDOW_HOUR, group_by=["region"]).rows

    start = [int((row.start_at.ToDatetime(UTC) - DAY) / timedelta(hours=1)) for row in rows]
    assert list(zip(start, [row.group["region"] for row in rows], [row.value for row in rows], strict=True)) == [
        (0, "eu", "1"),
        (0, "us", "2"),
        (5, "", "8"),
        (5, "eu", "4"),
    ]


def test_groups_follow_the_order_in_which_they_are_asked_for(room: AggregatorRoom) -> None:
    room.create(group_by=["region", "tier"])
    room.record([call(0, subject="bob", region="eu", tier="1"), call(0, "2", region="us"), call(1, "4", tier="1")])

    assert groups(room.ask(group_by=["tier", "subject"])) == [
        ({"tier": "", "subject": "ann"}, "2"),
        ({"tier": "1", "subject": "ann"}, "4"),
        ({"tier": "1", "subject": "bob"}, "1"),
    ]
    assert groups(room.ask(group_by=["subject"])) == [({"subject": "ann"}, "6"), ({"subject": "bob"}, "1")]


def test_only_chosen_subjects_count_and_an_unknown_one_has_no_usage(room: AggregatorRoom) -> None:
    room.create()
    room.record([call(0), call(0, "2", subject="bob"), call(0, "4", subject="cat")])

    assert values(room.ask(subjects=["ann", "cat", "cat", "nobody"])) == ["5"]
    assert values(room.ask(subjects=["nobody"])) == ["0"]
    assert groups(room.ask(subjects=["nobody", "bob"], group_by=["subject"])) == [({"subject": "bob"}, "2")]


def test_subjects_are_found_by_look_up_and_by_scan_alike(room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    room.create()
    room.record([call(n % 24, "1", subject=f"s{n % 7}", region=str(n % 3)) for n in range(200)])
    wanted = {"subjects": ["s1", "s3", "s9"], "window": api.WINDOW_HOUR, "group_by": ["subject", "region"]}

    looked_up = room.ask(**wanted)
    monkeypatch.setattr("services.aggregator.questions.window_states.LOOK_UPS_MAX", 0)

    assert room.ask(**wanted) == looked_up
    assert {row.group["subject"] for row in looked_up.rows} == {"s1", "s3"}


def test_the_day_of_a_zone_is_counted_exactly_where_it_begins_inside_an_hour(room: AggregatorRoom) -> None:
    room.create()
    midnight = DAY + timedelta(hours=18, minutes=15)
    moments = [midnight - timedelta(microseconds=1), midnight, midnight + timedelta(hours=24)]
    room.record([Event("call", "ann", at, Decimal(10**number), {}) for number, at in enumerate(moments)])

    response = room.ask(
        start_at=to_timestamp(midnight - timedelta(hours=24)),
        end_at=to_timestamp(midnight + timedelta(hours=48)),
        window=api.WINDOW_DAY,
        time_zone="Asia/Kathmandu",
    )

    assert values(response) == ["1", "10", "100"]


def test_range_edges_inside_one_hour_are_counted_to_the_microsecond(room: AggregatorRoom) -> None:
    room.create()
    start, end = DAY + timedelta(minutes=10, microseconds=1), DAY + timedelta(minutes=10, microseconds=3)
    room.record(
        [Event("call", "ann", start + timedelta(microseconds=n), Decimal(10 ** (n + 1)), {}) for n in range(-1, 3)]
    )

    assert values(room.ask(start_at=to_timestamp(start), end_at=to_timestamp(end))) == ["110"]


def test_a_meter_created_after_its_usage_counts_it(room: AggregatorRoom) -> None:
    room.record([call(0, "5"), call(3, "7", subject="bob")])
    room.create()

    assert values(room.ask()) == ["12"]


def test_usage_of_another_type_or_without_a_number_is_not_counted(room: AggregatorRoom) -> None:
    room.create(value_property="size", group_by=[])
    room.create("sizes", aggregation=api.AGGREGATION_UNIQUE_COUNT, value_property="size", group_by=[])
    room.record([call(0, size="2.5"), call(0, size="many"), call(0), call(0, size="2.50"), call(0, size="")])
    room.record([Event("other", "ann", DAY, Decimal(1), {"size": "100"})])

    assert values(room.ask()) == ["5"]
    assert values(room.ask("sizes")) == ["4"]


def test_meters_are_listed_by_slug_page_by_page(room: AggregatorRoom) -> None:
    for slug in ("c", "a", "b", "d"):
        room.create(slug)
    room.meters.archive(api.ArchiveMeterRequest(slug="b"), WAIT_S)

    first = room.meters.list(api.ListMetersRequest(page_size=2))
    second = room.meters.list(api.ListMetersRequest(page_size=2, page_token=first.next_page_token))
    everything = room.meters.list(api.ListMetersRequest(include_archived=True))

    assert [[meter.slug for meter in page.meters] for page in (first, second)] == [["a", "c"], ["d"]]
    assert second.next_page_token == ""
    assert [(meter.slug, meter.HasField("archived_at")) for meter in everything.meters] == [
        ("a", False),
        ("b", True),
        ("c", False),
        ("d", False),
    ]


def test_an_archived_meter_goes_on_counting(room: AggregatorRoom) -> None:
    room.create()
    room.meters.archive(api.ArchiveMeterRequest(slug="tokens"), WAIT_S)
    room.record([call(0, "3")])

    assert values(room.ask()) == ["3"]


def test_an_updated_meter_reads_as_updated(room: AggregatorRoom) -> None:
    created = room.create(unit="token")
    room.meters.update(api.UpdateMeterRequest(slug="tokens", display_name="All tokens"), WAIT_S)

    read = room.meters.get(api.GetMeterRequest(slug="tokens")).meter
    assert (read.display_name, read.unit, read.created_at) == ("All tokens", "token", created.created_at)


def test_rebuilt_tables_are_equal_and_answer_like_the_live_ones(room: AggregatorRoom) -> None:
    room.create()
    room.record([call(0, region="eu"), call(3, "2", subject="bob")])
    room.create("sizes", aggregation=api.AGGREGATION_LAST, value_property="size")
    room.record([call(0, "4", size="1"), call(3, size="8", region="us")])
    before = [room.ask(meter, group_by=["subject", "region"]) for meter in ("tokens", "sizes")]

    comparison = room.windows.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=lambda _: None)

    assert (comparison.is_equal, comparison.is_swapped) == (True, True)
    assert [room.ask(meter, group_by=["subject", "region"]) for meter in ("tokens", "sizes")] == before
    room.record([call(0, "16")])
    assert values(room.ask()) == ["24"]
