"""Usage tables as amended: other values and properties at single rows, the order of rows kept. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.corrections.force import Amendment, Place
from services.eventstore.usage_batch import PROPERTY_PREFIX, TEXT, USAGE_EVENTS_MAX, VALUE


@dataclass(frozen=True, slots=True)
class _Said:
    """What one usage event says after all of its amendments; None: as it was recorded."""

    value: Decimal | None = None
    properties: Mapping[str, str] | None = None

    def amended(self, by: Amendment) -> "_Said":
        return _Said(
            self.value if by.value is None else by.value,
            self.properties if by.properties is None else by.properties,
        )


def amended(usage: pa.Table, amendments: Sequence[Amendment]) -> pa.Table:
    """The usage events as they say after `amendments`, which are in the order of the log."""
    said: dict[Place, _Said] = {}
    for each in amendments:
        said[each.place] = said.get(each.place, _Said()).amended(each)
    if not said:
        return usage
    numbers = place_numbers(usage, tuple(said))
    rows = pc.indices_nonzero(pc.is_valid(numbers)).to_pylist()
    if not rows:
        return usage
    by_number = tuple(said.values())
    of_rows = [by_number[number] for number in numbers.drop_null().to_pylist()]
    return _replaced(usage, rows, of_rows)


def place_numbers(usage: pa.Table, places: Sequence[Place]) -> pa.Array:
    """For each usage event its number in `places`, null where it is none of them (int32)."""
    positions = sorted({position for position, _ in places})
    number_of = {position: number for number, position in enumerate(positions)}
    # Positions may be as large as an int64 holds, so that only their numbers can be combined with rows.
    wanted = [number_of[position] * USAGE_EVENTS_MAX + row for position, row in places]
    numbers = pc.index_in(usage["position"].combine_chunks(), pa.array(positions, pa.int64())).cast(pa.int64())
    codes = pc.add(pc.multiply(numbers, USAGE_EVENTS_MAX), usage["row"].combine_chunks())
    return pc.index_in(codes, pa.array(wanted, pa.int64()))


def _replaced(usage: pa.Table, rows: Sequence[int], said: Sequence[_Said]) -> pa.Table:
    for index, name in enumerate(usage.schema.names):
        column = usage[name].combine_chunks()
        if name == "value":
            values = [(row, each.value) for row, each in zip(rows, said, strict=True) if each.value is not None]
            usage = usage.set_column(index, name, _with_values(column, values))
        elif name.startswith(PROPERTY_PREFIX):
            key = name.removeprefix(PROPERTY_PREFIX)
            texts = [
                (row, each.properties.get(key))
                for row, each in zip(rows, said, strict=True)
                if each.properties is not None
            ]
            usage = usage.set_column(index, name, _with_texts(column, texts))
    return usage


def _with_values(column: pa.Array, values: Sequence[tuple[int, Decimal]]) -> pa.Array:
    numbers = pa.array([value for _, value in values], VALUE)
    return pc.replace_with_mask(column, _mask(len(column), values), numbers) if values else column


def _with_texts(column: pa.DictionaryArray, texts: Sequence[tuple[int, str | None]]) -> pa.DictionaryArray:
    if not texts:
        return column
    dictionary = column.dictionary.to_pylist()
    codes = {text: code for code, text in enumerate(dictionary)}
    new = [None if text is None else codes.setdefault(text, len(codes)) for _, text in texts]
    indices = pc.replace_with_mask(column.indices, _mask(len(column), texts), pa.array(new, pa.int32()))
    return pa.DictionaryArray.from_arrays(indices, pa.array(list(codes), pa.utf8())).cast(TEXT)


def _mask(length: int, cells: Sequence[tuple[int, Any]]) -> pa.Array:
    return pc.is_in(pa.array(range(length), pa.int64()), pa.array([row for row, _ in cells], pa.int64()))
