"""Reading the whole log in pages, and what a page says about how far it got."""

from uuid import UUID

import pytest

from services.eventstore import memory
from services.eventstore.event import ANY_VERSION, BEGINNING, NewEvent, Page, Position, StreamName
from services.eventstore.kurrentdb import read as kurrentdb_read
from services.eventstore.postgres import read as postgres_read
from services.eventstore.sqlite import read as sqlite_read
from services.eventstore.store import EventStore


@pytest.fixture
def filled(store: EventStore) -> EventStore:
    """Ten events: positions 1 to 10; every third is a meter's, the others are usage, but for a price at 5."""
    for n in range(1, 11):
        category = "price" if n == 5 else "meter" if n % 3 == 0 else "usage"
        store.append(StreamName(category, str(n % 2)), [NewEvent(UUID(int=n), "Happened", 1, b"x")], ANY_VERSION)
    return store


def positions(page: Page) -> list[int]:
    return [event.position for event in page.events]


def test_an_empty_log_gives_an_empty_last_page(store: EventStore) -> None:
    assert store.read_all(after=BEGINNING) == Page((), BEGINNING, is_last=True)


def test_pages_follow_each_other_to_the_end(filled: EventStore) -> None:
    first = filled.read_all(after=BEGINNING, limit=4)
    second = filled.read_all(after=first.position, limit=4)
    third = filled.read_all(after=second.position, limit=4)
    assert [positions(page) for page in (first, second, third)] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
    assert [page.is_last for page in (first, second, third)] == [False, False, True]


def test_a_page_that_ends_with_the_log_is_the_last(filled: EventStore) -> None:
    assert filled.read_all(after=BEGINNING, limit=10).is_last
    assert not filled.read_all(after=BEGINNING, limit=9).is_last


@pytest.mark.parametrize(
    ("categories", "expected"),
    [
        ({"meter"}, [3, 6, 9]),
        (["price", "meter"], [3, 5, 6, 9]),
        (("usage", "usage"), [1, 2, 4, 7, 8, 10]),
        (("nothing",), []),
        (frozenset(), list(range(1, 11))),
    ],
    ids=str,
)
def test_only_the_asked_categories_are_read(filled: EventStore, categories: set[str], expected: list[int]) -> None:
    assert positions(filled.read_all(after=BEGINNING, categories=categories)) == expected


def test_a_page_advances_over_events_of_other_categories(filled: EventStore) -> None:
    assert filled.read_all(after=Position(5), categories=["price"]) == Page((), Position(10), is_last=True)
    page = filled.read_all(after=BEGINNING, categories=["price"])
    assert (positions(page), page.position, page.is_last) == ([5], 10, True)


def test_a_full_page_that_exhausts_its_categories_is_the_last(filled: EventStore) -> None:
    page = filled.read_all(after=BEGINNING, categories=["meter"], limit=3)
    assert (positions(page), page.position, page.is_last) == ([3, 6, 9], 10, True)
    page = filled.read_all(after=BEGINNING, categories=["meter"], limit=2)
    assert (positions(page), page.position, page.is_last) == ([3, 6], 6, False)


def test_pages_of_several_categories_miss_nothing(filled: EventStore) -> None:
    position, read = BEGINNING, []
    while True:
        page = filled.read_all(after=position, categories=["meter", "price", "usage"], limit=3)
        read += positions(page)
        position = page.position
        if page.is_last:
            break
    assert read == list(range(1, 11))


def test_behind_the_end_there_is_nothing_yet(filled: EventStore) -> None:
    assert filled.read_all(after=Position(10)) == Page((), Position(10), is_last=True)
    assert filled.read_all(after=Position(99), categories=["meter"]) == Page((), Position(99), is_last=True)


def test_a_page_ends_when_it_weighs_enough(filled: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (memory, sqlite_read, postgres_read, kurrentdb_read):
        monkeypatch.setattr(module, "PAGE_BYTES_MAX", 2)
    page = filled.read_all(after=BEGINNING)
    assert (positions(page), page.position, page.is_last) == ([1, 2], 2, False)
    page = filled.read_all(after=Position(6), categories=["meter"])
    assert (positions(page), page.position, page.is_last) == ([9], 10, True)
