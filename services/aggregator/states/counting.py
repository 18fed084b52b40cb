"""From usage events to the states of one meter: choose what it counts, read its number, group, merge."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.aggregations.aggregation import STATE_TYPES, Aggregation
from services.aggregator.aggregations.table import AGGREGATIONS
from services.aggregator.meters.conditions import condition_columns, meets_all
from services.aggregator.meters.definition import Definition
from services.aggregator.meters.expression import parse_expression
from services.aggregator.meters.expression_columns import evaluate, expression_columns
from services.aggregator.meters.versions import Reign, reigns
from services.aggregator.states.decimal_column import NUMBER, decimal_texts, parse_decimals
from services.eventstore.usage_batch import property_column

WHOLE_KEYS = ("subject", "group_text")
"""The key columns of a table of states, behind its slot."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Usage events of the meter's type, of these those that meet its filters, of these those whose number is read."""

    of_type: int
    chosen: int
    counted: int

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.of_type + other.of_type, self.chosen + other.chosen, self.counted + other.counted)


def columns_counted(meters: Iterable[Definition]) -> list[str]:
    """The columns of a usage table that these meters look at."""
    looked_at = {column for meter in meters for reign in reigns(meter) for column in _columns(reign.definition)}
    return ["type", "subject", "value", *sorted(looked_at - {"value"})]


def count_usage(usage: pa.Table, meter: Definition, slot: str) -> pa.Table:
    """The states that whole hours keep of the usage events that the meter counts, merged by slot, subject and group.

    `usage` has the columns of `usage_tables`; `slot` names the one that says which slice of time an event falls in.
    Columns: `slot` (int64), subject (text), group_text (see `group_texts`), then those of the aggregation. No rows for
    an aggregation that keeps no hours.
    """
    aggregation = AGGREGATIONS[meter.aggregation]
    return usage_states(usage if aggregation.keeps_hours else usage.slice(0, 0), meter, slot, aggregation)


def usage_states(usage: pa.Table, meter: Definition, slot: str, aggregation: Aggregation) -> pa.Table:
    """The same for any aggregation; one that merges late has a state for every usage event."""
    if aggregation.merges_late:
        counted = _counted(usage, meter, (slot,), aggregation.columns)
        return pa.concat_tables([_with_group_texts(events, slot, aggregation) for events in counted])
    parts = [
        _with_group_texts(aggregation.merge(events, _keys(events, slot, aggregation)), slot, aggregation)
        for events in _counted(usage, meter, (slot,), aggregation.columns)
    ]
    return parts[0] if len(parts) == 1 else aggregation.merge(pa.concat_tables(parts), [slot, *WHOLE_KEYS])


def counted_events(usage: pa.Table, meter: Definition, kept: Sequence[str]) -> pa.Table:
    """The usage events that the meter counts, one by one: the columns `kept`, subject and group_text, and `number`."""
    parts = [
        pa.table(
            {
                **{name: events[name] for name in (*kept, "number")},
                "subject": events["subject"].cast(pa.utf8()),
                "group_text": _group_texts_of(events),
            }
        )
        for events in _counted(usage, meter, kept, ("number",))
    ]
    return pa.concat_tables(parts)


def tally(usage: pa.Table, meter: Definition) -> Tally:
    """How many usage events the meter counts, and how many it leaves out, by reason."""
    total = Tally(0, 0, 0)
    for reign in reigns(meter):
        of_type = _of_type(_during(usage, reign), reign.definition.event_type)
        chosen = _meeting_filters(of_type, reign.definition)
        column = _STATE_COLUMNS[_deciding_column(AGGREGATIONS[meter.aggregation].columns)](chosen, reign.definition)
        total += Tally(of_type.num_rows, chosen.num_rows, len(column) - column.null_count)
    return total


def group_texts(groups: Sequence[pa.DictionaryArray], rows: int) -> pa.Array:
    """One text a combination of values: a JSON array without blanks, in the order of the meter's group_by."""
    if not groups:
        return pa.repeat(pa.scalar("[]"), rows)
    if len(groups) == 1:
        return pa.array([f"[{text}]" for text in _json_texts(groups[0])], pa.utf8()).take(groups[0].indices)
    texts = [pa.array(_json_texts(group), pa.utf8()).take(group.indices) for group in groups]
    return pc.binary_join_element_wise("[", pc.binary_join_element_wise(*texts, ","), "]", "")


def group_values(group_text: str) -> tuple[str, ...]:
    """The values in a text of `group_texts`; fewer than the meter's group_by where an older version had fewer keys."""
    return tuple(json.loads(group_text))


def without_added_keys(group_texts: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """The texts without "" at the end, so that a group is the same before and after keys were added."""
    shortened = pc.replace_substring_regex(group_texts, r'(,"")+\]$', "]")
    return pc.if_else(pc.equal(shortened, '[""]'), "[]", shortened)


def _columns(meter: Definition) -> set[str]:
    properties = {property_column(key) for key in (*meter.group_by, meter.value_property) if key}
    in_expression = expression_columns(parse_expression(meter.value_expression)) if meter.value_expression else set()
    return properties | condition_columns(meter.filters) | in_expression


def _counted(usage: pa.Table, meter: Definition, kept: Sequence[str], columns: Sequence[str]) -> Iterator[pa.Table]:
    """For each version the usage events that it counts: `kept`, subject, group_0 …, then `columns` of states."""
    for reign in reigns(meter):
        chosen = _meeting_filters(_of_type(_during(usage, reign), reign.definition.event_type), reign.definition)
        groups = [_without_nulls(_only_chunk(chosen, property_column(key))) for key in reign.definition.group_by]
        named = {f"group_{index}": group for index, group in enumerate(groups)}
        states = {name: _STATE_COLUMNS[name](chosen, reign.definition) for name in columns}
        events = pa.table({**{name: chosen[name] for name in (*kept, "subject")}, **named, **states})
        yield _complete(events, _deciding_column(columns))


def _during(usage: pa.Table, reign: Reign) -> pa.Table:
    if reign.start_us is not None:
        usage = usage.filter(pc.greater_equal(usage["at_us"], reign.start_us))
    return usage if reign.end_us is None else usage.filter(pc.less(usage["at_us"], reign.end_us))


def _of_type(usage: pa.Table, event_type: str) -> pa.Table:
    types = _only_chunk(usage, "type")
    code = pc.index(types.dictionary, event_type).as_py()
    if code < 0:
        return usage.slice(0, 0)
    return usage if len(types.dictionary) == 1 else usage.filter(pc.equal(types.indices, code))


def _meeting_filters(usage: pa.Table, meter: Definition) -> pa.Table:
    return usage.filter(meets_all(usage, meter.filters)) if meter.filters else usage


def _keys(events: pa.Table, slot: str, aggregation: Aggregation) -> list[str]:
    return [name for name in events.schema.names if name in (slot, "subject") or name not in aggregation.columns]


def _with_group_texts(merged: pa.Table, slot: str, aggregation: Aggregation) -> pa.Table:
    return pa.table(
        {
            slot: merged[slot],
            "subject": merged["subject"].cast(pa.utf8()),
            "group_text": _group_texts_of(merged),
            **{name: merged[name].cast(STATE_TYPES[name]) for name in aggregation.columns},
        }
    )


def _group_texts_of(events: pa.Table) -> pa.Array:
    groups = [_only_chunk(events, name) for name in events.schema.names if name.startswith("group_")]
    return group_texts(groups, events.num_rows)


def _json_texts(group: pa.DictionaryArray) -> list[str]:
    """The text of each different value."""
    return [json.dumps(value, ensure_ascii=False) for value in group.dictionary.to_pylist()]


def _deciding_column(columns: Sequence[str]) -> str:
    """The column whose null says that a usage event is not counted."""
    return next(name for name in ("text", "number", "count") if name in columns)


def _complete(states: pa.Table, column: str) -> pa.Table:
    return states.filter(pc.is_valid(states[column])) if states[column].null_count else states


def _counts(usage: pa.Table, _meter: Definition) -> pa.Array:
    return pa.repeat(pa.scalar(1, STATE_TYPES["count"]), usage.num_rows)


def _numbers(usage: pa.Table, meter: Definition) -> pa.Array | pa.ChunkedArray:
    if meter.value_expression:
        return evaluate(parse_expression(meter.value_expression), usage)
    if not meter.value_property:
        return usage["value"].cast(NUMBER)
    return parse_decimals(_only_chunk(usage, property_column(meter.value_property)))


def _texts(usage: pa.Table, meter: Definition) -> pa.Array | pa.ChunkedArray:
    if meter.value_property:
        return usage[property_column(meter.value_property)]
    return decimal_texts(_numbers(usage, meter))


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
