"""From usage events to the states of one meter: choose what it counts, read its number, group, merge."""

import json
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.aggregations.aggregation import STATE_TYPES
from services.aggregator.aggregations.table import AGGREGATIONS
from services.aggregator.decimal_column import NUMBER, decimal_texts, parse_decimals
from services.aggregator.definition import Definition
from services.eventstore.usage_batch import property_column


def columns_counted(meters: Iterable[Definition]) -> list[str]:
    """The columns of a usage table that these meters look at."""
    properties = {key for meter in meters for key in (*meter.group_by, meter.value_property) if key}
    return ["type", "subject", "value", *map(property_column, sorted(properties))]


def count_usage(usage: pa.Table, meter: Definition, slot: str) -> pa.Table:
    """The states of the usage events that the meter counts, merged by slot, subject and group.

    `usage` has the columns of `usage_tables`; `slot` names the one that says which slice of time an event falls in.
    Columns: `slot` (int64), subject (text), group_text (see `group_texts`), then those of the aggregation.
    """
    aggregation = AGGREGATIONS[meter.aggregation]
    chosen = _of_type(usage, meter.event_type)
    states = {name: _STATE_COLUMNS[name](chosen, meter) for name in aggregation.columns}
    groups = [_without_nulls(_only_chunk(chosen, property_column(key))) for key in meter.group_by]
    group_names = [f"group_{index}" for index in range(len(groups))]
    keys = {slot: chosen[slot], "subject": chosen["subject"], **dict(zip(group_names, groups, strict=True))}
    counted = _complete(pa.table({**keys, **states}), _deciding_column(aggregation.columns))
    merged = aggregation.merge(counted, list(keys))
    return pa.table(
        {
            slot: merged[slot],
            "subject": merged["subject"].cast(pa.utf8()),
            "group_text": group_texts([_only_chunk(merged, name) for name in group_names], merged.num_rows),
            **{name: merged[name].cast(STATE_TYPES[name]) for name in aggregation.columns},
        }
    )


def group_texts(groups: Sequence[pa.DictionaryArray], rows: int) -> pa.Array:
    """One text a combination of values: a JSON array without blanks, in the order of the meter's group_by."""
    if not groups:
        return pa.repeat(pa.scalar("[]"), rows)
    joined = pc.binary_join_element_wise(*map(_json_texts, groups), ",")
    return pc.binary_join_element_wise("[", joined, "]", "")


def group_values(group_text: str) -> tuple[str, ...]:
    """The values in a text of `group_texts`."""
    return tuple(json.loads(group_text))


def _json_texts(group: pa.DictionaryArray) -> pa.Array:
    texts = [json.dumps(value, ensure_ascii=False) for value in group.dictionary.to_pylist()]
    return pa.array(texts, pa.utf8()).take(group.indices)


def _of_type(usage: pa.Table, event_type: str) -> pa.Table:
    types = _only_chunk(usage, "type")
    code = pc.index(types.dictionary, event_type).as_py()
    if code < 0:
        return usage.slice(0, 0)
    return usage if len(types.dictionary) == 1 else usage.filter(pc.equal(types.indices, code))


def _deciding_column(columns: Sequence[str]) -> str:
    """The column whose null says that a usage event is not counted."""
    return next(name for name in ("text", "number", "count") if name in columns)


def _complete(states: pa.Table, column: str) -> pa.Table:
    return states.filter(pc.is_valid(states[column])) if states[column].null_count else states


def _counts(usage: pa.Table, _meter: Definition) -> pa.Array:
    return pa.repeat(pa.scalar(1, STATE_TYPES["count"]), usage.num_rows)


def _numbers(usage: pa.Table, meter: Definition) -> pa.Array | pa.ChunkedArray:
    if not meter.value_property:
        return usage["value"].cast(NUMBER)
    return parse_decimals(_only_chunk(usage, property_column(meter.value_property)))


def _texts(usage: pa.Table, meter: Definition) -> pa.Array | pa.ChunkedArray:
    if not meter.value_property:
        return decimal_texts(usage["value"])
    return usage[property_column(meter.value_property)]


_STATE_COLUMNS = {
    "count": _counts,
    "number": _numbers,
    "at_us": lambda usage, _meter: usage["at_us"],
    "position": lambda usage, _meter: usage["position"],
    "row": lambda usage, _meter: usage["row"],
    "text": _texts,
}


def _without_nulls(texts: pa.DictionaryArray) -> pa.DictionaryArray:
    """A usage event without the property belongs to the group "", like one whose property is empty."""
    if not texts.null_count:
        return texts
    values, code = texts.dictionary, pc.index(texts.dictionary, "").as_py()
    if code < 0:
        values, code = pa.concat_arrays([values, pa.array([""], pa.utf8())]), len(values)
    return pa.DictionaryArray.from_arrays(pc.fill_null(texts.indices, pa.scalar(code, pa.int32())), values)


def _only_chunk(table: pa.Table, name: str) -> pa.Array:
    return table[name].combine_chunks()
