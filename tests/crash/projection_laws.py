"""The laws of a projection: its rows are a fold of the log, and a rebuild gives the same."""

from collections.abc import Sequence

from services.eventstore.event import RecordedEvent
from tests.crash.history import Rebuilt
from tests.crash.law import Law, Violation, broken
from tests.crash.tally import Rows, folded


def projection_violations(
    rows: Rows, position: int, rebuilds: Sequence[Rebuilt], log: Sequence[RecordedEvent]
) -> list[Violation]:
    """Check rows that stand at `position`, and what rebuilds found, against the final log."""
    expected = folded(event for event in log if event.position <= position)
    wrong = sorted(name for name in rows.keys() | expected.keys() if rows.get(name) != expected.get(name))
    end = log[-1].position if log else 0
    return [
        *broken(Law.PROJECTION, [_difference(name, rows, expected) for name in wrong]),
        *broken(Law.PROJECTION, [f"it stands at {position}, behind the log's end {end}"] if position > end else []),
        *broken(
            Law.PROJECTION,
            [f"{each.client} found a rebuild to {each.position} unequal" for each in rebuilds if not each.is_equal],
        ),
    ]


def _difference(name: str, rows: Rows, expected: Rows) -> str:
    found, wanted = rows.get(name, (0, b"")), expected.get(name, (0, b""))
    order = "" if found[0] != wanted[0] else ", in another order"
    return f"{name} has {found[0]} events, the log {wanted[0]}{order}"
