"""What a watcher is told: all rows at first, then those that changed. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from services.aggregator.questions.query import UsageRow

WATCHED_ROWS_MAX = 10_000
"""Rows that one watcher may watch."""

PAUSE_S = 0.1
"""The shortest time between two answers for one watcher."""

PAUSE_PER_ANSWER = 4
"""How many times as long as its last answer took a watcher rests: so no watcher takes more than a fifth of a thread."""


class Told:
    """The rows of one window that a watcher knows, by group."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, ...], UsageRow] = {}

    def news(self, rows: Sequence[UsageRow]) -> list[UsageRow]:
        """The rows that the watcher does not know yet, which it knows then; one that is gone has no value."""
        standing = {row.group: row for row in rows}
        changed = [row for row in rows if self._rows.get(row.group) != row]
        gone = list(self._gone(standing))
        self._rows = standing
        return sorted([*changed, *gone], key=lambda row: row.group)

    def _gone(self, standing: dict[tuple[str, ...], UsageRow]) -> Iterator[UsageRow]:
        return (replace(row, value=None) for group, row in self._rows.items() if group not in standing)


def pause_s(answered_in_s: float) -> float:
    """How long a watcher rests after an answer that took so long."""
    return max(PAUSE_S, PAUSE_PER_ANSWER * answered_in_s)
