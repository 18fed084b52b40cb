"""Answers page by page: all pages are of one position of the log, whatever is recorded between them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.questions.paged_answers import KeptAnswers
from services.kernel.errors import InvalidInput, RuleViolated
from tests.aggregator_room import AggregatorRoom, call, open_room

EVERY = [
    "count",
    "sum",
    "min",
    "max",
    "avg",
    "first",
    "last",
    "unique_count",
    "weighted_sum",
    "percentile",
]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    with open_room(tmp_path) as opened:
        yield opened


def create_every(room: AggregatorRoom) -> None:
    for name in EVERY:
        percentile = {"percentile": "50"} if name == "percentile" else {}
        room.create(name, aggregation=api.Aggregation.Value(f"AGGREGATION_{name.upper()}"), **percentile)


def pages(room: AggregatorRoom, size: int, **asked: Any) -> Iterator[api.QueryUsageResponse]:
    page = room.ask(page_size=size, **asked)
    yield page
    while page.next_page_token:
        page = room.ask(page_size=size, page_token=page.next_page_token, **asked)
        yield page


def test_pages_join_to_the_answer_that_one_page_gives(room: AggregatorRoom) -> None:
    room.create()
    room.record([call(n % 24, str(n), subject=f"s{n % 5}", region=str(n % 3)) for n in range(200)])
    asked: dict[str, Any] = {"group_by": ["subject", "region"], "window": api.WINDOW_HOUR}

    whole = room.ask(**asked)
    for size in (1, 7, len(whole.rows), 10_000):
        given = list(pages(room, size, **asked))
        assert [row for page in given for row in page.rows] == list(whole.rows)
        assert {len(page.rows) for page in given[:-1]} <= {size}
        assert {page.position for page in given} == {whole.position}


def test_all_pages_say_what_the_log_said_when_the_first_was_given(
    room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """openmeter #2191, #2837: a cut-off that one part of an answer heeds and the next does not."""
    create_every(room)
    room.record([call(n % 4, str(n), region=str(n % 4)) for n in range(40)])
    for forgets in (False, True):
        if forgets:
            monkeypatch.setattr(KeptAnswers, "get", lambda _kept, _question: None)
        for name in EVERY:
            asked: dict[str, Any] = {"meter": name, "group_by": ["region"], "window": api.WINDOW_HOUR}
            whole = room.ask(**asked)
            turning = pages(room, 3, **asked)
            first = next(turning)
            room.record([call(2, "1000", region="0"), call(3, "1000", region="9")])
            rest = list(turning)
            assert [*first.rows, *(row for page in rest for row in page.rows)] == list(whole.rows), name
            assert {page.position for page in rest} == {first.position}


def test_pages_may_change_their_size_but_not_their_question(room: AggregatorRoom) -> None:
    room.create()
    room.record([call(0, region=str(n)) for n in range(6)])
    first = room.ask(group_by=["region"], page_size=2)

    second = room.ask(group_by=["region"], page_size=3, page_token=first.next_page_token)
    assert [row.group["region"] for row in second.rows] == ["2", "3", "4"]
    for other in ({"group_by": ["subject"]}, {"group_by": ["region"], "top": 3}, {"subjects": ["ann"]}):
        with pytest.raises(InvalidInput) as refusal:
            room.ask(page_size=2, page_token=first.next_page_token, **other)
        assert refusal.value.field == "page_token"


def test_windows_without_usage_are_paged_too(room: AggregatorRoom) -> None:
    room.create()
    room.record([call(5, "3")])

    given = list(pages(room, 10, window=api.WINDOW_HOUR))
    assert [row.value for page in given for row in page.rows] == ["0"] * 5 + ["3"] + ["0"] * 18


def test_a_large_answer_needs_pages(room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    """lago #5881: a list that is too long must not run into a time-out without a word."""
    room.create()
    room.record([call(0, region=str(number)) for number in range(10)])
    monkeypatch.setattr("services.aggregator.api.usage.ROWS_MAX", 9)
    monkeypatch.setattr("services.aggregator.questions.answer.ROWS_MAX", 9)

    with pytest.raises(RuleViolated, match="page by page"):
        room.ask(group_by=["region"])
    assert sum(len(page.rows) for page in pages(room, 4, group_by=["region"])) == 10


def test_answers_are_kept_within_bounds(room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    room.create()
    room.record([call(0, region=str(number)) for number in range(10)])
    monkeypatch.setattr("services.aggregator.questions.paged_answers.KEPT_BYTES_MAX", 1)

    assert sum(len(page.rows) for page in pages(room, 4, group_by=["region"])) == 10
    assert len(room.usage.kept) == 0
