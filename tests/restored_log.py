"""A log that an operator restores from an older backup while services run on it."""

from services.eventstore.event import BEGINNING, Position
from services.eventstore.memory import MemoryEventStore
from services.kernel.clock import SimulatedClock
from tests.projection_room import NOON


def restore_older(store: MemoryEventStore, until: Position) -> None:
    """Put the log's first events, up to `until`, in the place of the log; whoever has it open reads them."""
    events = [event for event in store.read_all(after=BEGINNING).events if event.position <= until]
    commits = [commit for commit in store.read_commits(after=BEGINNING) if commit.last_position <= until]
    older = MemoryEventStore(SimulatedClock(NOON))
    older.restore(events, commits)
    with store._lock:
        store._events, store._commits = older._events, older._commits
        store._streams, store._categories = older._streams, older._categories
