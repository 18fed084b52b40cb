"""What becomes of events on their way into a fold: taken in in their current form, left out, or unknown."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from services.eventstore.catalogue import CATALOGUE
from services.eventstore.event import RecordedEvent


@dataclass(frozen=True, slots=True)
class Intake:
    """Events to fold, in log order and in their current forms; and those that this release does not know, as stored."""

    foldable: tuple[RecordedEvent, ...]
    unknown: tuple[RecordedEvent, ...]


def take_in(events: Iterable[RecordedEvent], skipped: Collection[bytes]) -> Intake:
    """Sort `events`; those whose leaf is in `skipped` are left out. Raises Corrupt when an old form does not parse."""
    foldable: list[RecordedEvent] = []
    unknown: list[RecordedEvent] = []
    for event in events:
        if event.leaf in skipped:
            continue
        if CATALOGUE.is_known(event):
            foldable.extend(CATALOGUE.current(event))
        else:
            unknown.append(event)
    return Intake(tuple(foldable), tuple(unknown))
