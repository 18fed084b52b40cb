"""From the groups that a meter counts by to those that a query asks for: chosen by its filters, named by its keys."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.meters.conditions import Condition, Operator, meets
from services.aggregator.meters.definition import SUBJECT_KEY
from services.aggregator.questions.query import UsageQuery
from services.aggregator.states.counting import group_values


def group_columns(query: UsageQuery) -> list[str]:
    """The columns that `by_asked_groups` appends, in the order of the query's group_by."""
    return [f"by_{index}" for index in range(len(query.group_by))]


def by_asked_groups(states: pa.Table, query: UsageQuery) -> pa.Table:
    """The states of groups that meet the filters, with one text column for each key of the query's group_by.

    A filter sees the text that the group shows: "" where a usage event has no such property, which only `exists` and
    `not_exists` take for a missing one.
    """
    codes, columns = _values_by_code(states["group_text"].combine_chunks(), query.meter.group_by)
    chosen = [met for condition in query.filters for met in (_met(columns[condition.property], condition),)]
    asked = {
        name: columns[key].take(codes)
        for name, key in zip(group_columns(query), query.group_by, strict=True)
        if key != SUBJECT_KEY
    }
    for name in group_columns(query):
        states = states.append_column(name, asked[name] if name in asked else states["subject"])
    return states.filter(_all(chosen).take(codes)) if chosen else states


def _values_by_code(texts: pa.Array, keys: Sequence[str]) -> tuple[pa.Array, dict[str, pa.Array]]:
    """For each state the number of its group text; for each key its value in every different text."""
    coded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
    groups = [group_values(text) for text in coded.dictionary.to_pylist()]
    return coded.indices, {
        key: pa.array([values[place] if place < len(values) else "" for values in groups], pa.utf8())
        for place, key in enumerate(keys)
    }


def _met(values: pa.Array, condition: Condition) -> pa.Array:
    is_about_being_there = condition.operator in (Operator.EXISTS, Operator.NOT_EXISTS)
    texts = pc.if_else(pc.equal(values, ""), None, values) if is_about_being_there else values
    return meets(texts.dictionary_encode(), condition)


def _all(parts: Sequence[pa.Array]) -> pa.Array:
    met = parts[0]
    for part in parts[1:]:
        met = pc.and_(met, part)
    return met
