"""Tells whether tables and log still belong together: who keeps a position keeps its leaf, and compares."""

from services.eventstore.store import EventStore
from services.kernel.errors import RuleViolated
from services.projection.generations import Generation


def stands_in_log(store: EventStore, generation: Generation) -> bool:
    """Whether the event that a generation was folded up to is still the one that stands there."""
    return store.leaf_at(generation.position) == generation.leaf


def require_same_log(store: EventStore, generation: Generation) -> None:
    """Raises RuleViolated (LOG_REWOUND) when the log was cut short, restored or replaced under a generation."""
    if not stands_in_log(store, generation):
        raise RuleViolated(
            f'projection "{generation.name}" is folded up to position {generation.position} of another log: this one '
            "was cut short, restored or replaced. Restore the right one; or, to fold this one anew, stop the service, "
            "delete the projection's database (on PostgreSQL: drop the service's schema), and start it again",
            reason="LOG_REWOUND",
            metadata={"projection": generation.name, "position": str(generation.position)},
        )
