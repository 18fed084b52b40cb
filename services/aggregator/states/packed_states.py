"""All groups of one hour and subject in one row: their states as lines of text, one line a group.

An hour of a grouped meter has many small states for each subject; a row for each of them costs more to write and to
find than everything else in a fold (docs/decisions/0026).
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.aggregations.aggregation import STATE_TYPES
from services.aggregator.states.decimal_column import NUMBER, decimal_texts

LINE = "\n"
"""Between two states; no group text (JSON escapes it) and no number holds one."""

PLACE = ("hour_us", "subject")


def packed(states: pa.Table, columns: Sequence[str]) -> pa.Table:
    """One row an hour and subject, in their order; the groups of a row in order, too.

    `states` have PLACE, group_text and `columns`; so has what is returned, but for PLACE as lines of text.
    """
    lined = ("group_text", *columns)
    states = states.sort_by([(name, "ascending") for name in (*PLACE, "group_text")])
    texts = {name: _texts(states[name]) for name in lined}
    lists = pa.table({**{name: states[name] for name in PLACE}, **texts}).group_by(list(PLACE), use_threads=False)
    rows = lists.aggregate([(name, "list") for name in lined])
    return pa.table(
        {
            **{name: rows[name] for name in PLACE},
            **{name: pc.binary_join(rows[f"{name}_list"].combine_chunks(), LINE) for name in lined},
        }
    )


def unpacked(rows: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The states behind packed rows."""
    groups = pc.split_pattern(rows["group_text"].combine_chunks(), LINE)
    owners = pc.list_parent_indices(groups)
    lines = {name: pc.split_pattern(rows[name].combine_chunks(), LINE).flatten() for name in columns}
    return pa.table(
        {
            **{name: rows[name].take(owners) for name in PLACE},
            "group_text": groups.flatten(),
            **{name: lines[name].cast(STATE_TYPES[name]) for name in columns},
        }
    )


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    return decimal_texts(column) if column.type == NUMBER else column.cast(pa.utf8())
