"""Answers a query: gathers states, merges them by window and asked group, and says the quantities."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.aggregations.aggregation import Aggregation
from services.aggregator.aggregations.table import aggregation_of
from services.aggregator.deadline import Deadline
from services.aggregator.questions.asked_groups import by_asked_groups, group_columns
from services.aggregator.questions.query import UsageQuery, UsageRow
from services.aggregator.questions.window_states import window_states
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.states.decimal_column import NUMBER
from services.kernel.errors import RuleViolated

ROWS_MAX = 100_000
"""Rows of an answer that is given as a whole."""

PAGED_ROWS_MAX = 1_000_000
"""Rows of an answer that is given page by page."""

MERGE_ROWS = 200_000
"""States that are gathered before they are merged."""

LATE_MERGE_TIMES = 5
"""Times as many are gathered where merging hardly makes them fewer."""

GATHERED_BYTES_MAX = 512 * 1024 * 1024
"""Bytes of merged states that are held for one answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of a query, by window, then group; without group_by one row a window.

    `quantities` holds the columns "window" (number, from 0), those of `group_columns` and "value" (decimal text), in
    the order of the rows; for a query without group_by only the windows with usage.
    """

    query: UsageQuery
    quantities: pa.Table
    empty: str | None

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return self.quantities.num_rows if self.query.group_by else len(self.query.windows)

    def rows(self, start: int = 0, stop: int | None = None) -> list[UsageRow]:
        """The rows from number `start`, from 0, until before `stop` (None: to the last)."""
        end = self.row_count if stop is None else min(stop, self.row_count)
        return list(self._groups(start, end) if self.query.group_by else self._windows(start, end))

    def _groups(self, start: int, end: int) -> Iterator[UsageRow]:
        part = self.quantities.slice(start, end - start)
        windows, *groups, values = (column.to_pylist() for column in part.columns)
        for window, value, *group in zip(windows, values, *groups, strict=True):
            yield UsageRow(self.query.windows[window], tuple(group), value)

    def _windows(self, start: int, end: int) -> Iterator[UsageRow]:
        numbers = self.quantities["window"].to_pylist()
        values = dict(zip(numbers, self.quantities["value"].to_pylist(), strict=True))
        for number in range(start, end):
            yield UsageRow(self.query.windows[number], (), values.get(number, self.empty))


def answer(
    source: UsageSnapshot, query: UsageQuery, deadline: Deadline, bytes_max: int = GATHERED_BYTES_MAX
) -> list[UsageRow]:
    """One row a window and group that occurs, by window, then group; without group_by one row a window.

    Raises TimedOut, and RuleViolated for more than ROWS_MAX rows or states that memory cannot hold.
    """
    return full_answer(source, query, deadline, ROWS_MAX, bytes_max).rows()


def full_answer(
    source: UsageSnapshot,
    query: UsageQuery,
    deadline: Deadline,
    rows_max: int,
    bytes_max: int = GATHERED_BYTES_MAX,
) -> Answer:
    """The answer of at most `rows_max` rows, to be read in parts; raises as `answer` does."""
    aggregation = aggregation_of(query.meter)
    groups = group_columns(query)
    keys = ["window", *groups]
    states = _gathered(source, query, aggregation, keys, deadline, bytes_max)
    if query.top:
        states = _of_greatest(states, query.top, aggregation, groups)
    quantities = aggregation.quantities(states, keys) if states.num_rows else _nothing(keys)
    _require_few(quantities.num_rows if groups else len(query.windows), rows_max)
    return Answer(query, quantities.sort_by([(key, "ascending") for key in keys]), aggregation.empty)


def _gathered(
    source: UsageSnapshot,
    query: UsageQuery,
    aggregation: Aggregation,
    keys: list[str],
    deadline: Deadline,
    bytes_max: int,
) -> pa.Table:
    gathered: list[pa.Table] = []
    merged_rows, merge_rows = 0, MERGE_ROWS * (LATE_MERGE_TIMES if aggregation.merges_late else 1)
    for states in window_states(source, query):
        deadline.require()
        asked = by_asked_groups(states, query)
        if asked.num_rows:
            gathered.append(asked.select([*keys, *aggregation.columns]))
        if sum(part.num_rows for part in gathered) > merge_rows + 2 * merged_rows:
            gathered = [aggregation.merge(pa.concat_tables(gathered), keys)]
            merged_rows = gathered[0].num_rows
            _require_small(gathered[0], bytes_max)
    return pa.concat_tables(gathered) if gathered else _nothing(keys)


def _of_greatest(states: pa.Table, top: int, aggregation: Aggregation, groups: list[str]) -> pa.Table:
    """The states of the groups with the greatest quantity over all windows, ties by group."""
    if not states.num_rows:
        return states
    whole = aggregation.quantities(states, groups)
    ranked = whole.set_column(whole.num_columns - 1, "value", whole["value"].cast(NUMBER))
    order = [("value", "descending"), *((name, "ascending") for name in groups)]
    greatest = ranked.take(pc.sort_indices(ranked, sort_keys=order).slice(0, top)).select(groups)
    return states.join(greatest, keys=groups, join_type="left semi")


def _nothing(keys: list[str]) -> pa.Table:
    types = [pa.int64(), *[pa.utf8()] * len(keys)]
    return pa.Table.from_arrays([pa.array([], kind) for kind in types], [*keys, "value"])


def _require_small(states: pa.Table, bytes_max: int) -> None:
    if states.nbytes > bytes_max:
        raise RuleViolated(
            f"the answer needs more than {bytes_max >> 20} MiB of memory before it is complete; narrow the "
            "range, name subjects, or group by less",
            reason="ANSWER_TOO_LARGE",
        )


def _require_few(rows: int, rows_max: int) -> None:
    if rows > rows_max:
        paged = ", or ask page by page (page_size)" if rows_max == ROWS_MAX else ""
        raise RuleViolated(
            f"the answer has {rows} rows, more than {rows_max}; narrow the range, or group by less{paged}",
            reason="TOO_MANY_ROWS",
        )
