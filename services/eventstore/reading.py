"""What is asked of every read, on each backend: what makes no sense is refused, and no page is too large."""

from collections.abc import Collection, Sequence

from services.eventstore.event import RecordedEvent
from services.eventstore.store import READ_LIMIT_MAX
from services.kernel.errors import InvalidInput

PAGE_BYTES_MAX = 16 * 1024 * 1024
"""Payload bytes at which a page of `read_all` ends, however few its events; the event that reaches it is the last."""

CATEGORIES_MAX = 100


def require_limit(limit: int) -> None:
    """Raises InvalidInput for a number of events that no read returns."""
    if not 1 <= limit <= READ_LIMIT_MAX:
        raise InvalidInput(f"a read returns 1 to {READ_LIMIT_MAX} events, not {limit}", field="limit")


def require_from_version(from_version: int, *, backwards: bool) -> None:
    """Raises InvalidInput for a version that no event can have; -1 stands for the newest, backwards only."""
    if from_version < (-1 if backwards else 0):
        raise InvalidInput(f"{from_version} is no version; the first is 0", field="from_version")


def require_categories(categories: Collection[str]) -> None:
    """Raises InvalidInput for more categories than a read takes, and for a text that was meant as one category."""
    if isinstance(categories, str):
        raise InvalidInput(f'categories is "{categories[:60]}"; write it as a collection of one', field="categories")
    if len(categories) > CATEGORIES_MAX:
        raise InvalidInput(f"a read takes at most {CATEGORIES_MAX} categories", field="categories")


def fitting(events: Sequence[RecordedEvent], bytes_max: int) -> Sequence[RecordedEvent]:
    """The events up to the one whose payload reaches `bytes_max`."""
    size = 0
    for count, event in enumerate(events, 1):
        size += len(event.payload)
        if size >= bytes_max:
            return events[:count]
    return events
