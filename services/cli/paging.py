"""Reads lists that come in pages."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

T = TypeVar("T")

PAGE_SIZE: Final = 1_000


def every_page(fetch: Callable[[str], tuple[Iterable[T], str]]) -> Iterator[T]:
    """All items; `fetch` takes a page token, empty at first, and returns the page and the token of the next one."""
    token = ""
    while True:
        items, token = fetch(token)
        yield from items
        if not token:
            return
