"""The columns of a Parquet file as exact text: what a mapping's templates and times are read from.

A member of a nested column is `outer.inner`. Whole numbers and decimals keep their value, true and false are those
words, dates and times are ISO 8601. Floating point is refused: it is not exact, whatever it shows.
"""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from services.cli.importing.quotation import quoted
from services.cli.importing.refusal import FileRefused

COLUMNS_SHOWN_MAX = 20


def open_parquet(path: Path) -> pq.ParquetFile:
    """The open file; raises FileRefused."""
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise FileRefused(f"{path} is no Parquet file: {_one_line(error)}", reason="PARQUET_BROKEN") from error


def require_columns(file: pq.ParquetFile, needed: Iterable[str]) -> tuple[str, ...]:
    """The columns of the file to be read for the needed ones; raises FileRefused for a missing or a floating one."""
    types = dict(_leaves(file.schema_arrow))
    for name in sorted(needed):
        if name not in types:
            shown = ", ".join(quoted(known) for known in list(types)[:COLUMNS_SHOWN_MAX])
            raise FileRefused(
                f"the file has no column {quoted(name)}, which the mapping reads; it has {shown}",
                reason="COLUMN_MISSING",
            )
        _require_exact(name, types[name])
    return tuple(sorted(needed))


def flat(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """The columns by name, nested ones as `outer.inner`."""
    table = pa.Table.from_batches([batch])
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return {name: table.column(name).combine_chunks() for name in table.schema.names}


def text_of(column: pa.Array) -> pa.Array:
    """The column as text, null where it is null."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_decimal(column.type):
        return pa.array([None if each is None else _plain(each) for each in column.to_pylist()], pa.utf8())
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return pa.array([None if each is None else each.isoformat() for each in _microseconds(column)], pa.utf8())
    return column.cast(pa.utf8())


def _leaves(schema: pa.Schema) -> Iterable[tuple[str, pa.DataType]]:
    waiting = [(field.name, field.type) for field in schema]
    while waiting:
        name, kind = waiting.pop(0)
        if pa.types.is_struct(kind):
            waiting = [(f"{name}.{inner.name}", inner.type) for inner in kind] + waiting
        else:
            yield name, kind


def _require_exact(name: str, kind: pa.DataType) -> None:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_floating(value):
        raise FileRefused(
            f"column {quoted(name)} holds floating point ({value}), which is not exact; "
            "write it as decimal, integer or text",
            reason="FLOAT_COLUMN",
        )
    is_known = (
        pa.types.is_string(value)
        or pa.types.is_large_string(value)
        or pa.types.is_integer(value)
        or pa.types.is_decimal(value)
        or pa.types.is_boolean(value)
        or pa.types.is_timestamp(value)
        or pa.types.is_date(value)
    )
    if not is_known:
        raise FileRefused(
            f"column {quoted(name)} holds {value}; "
            "a mapping reads text, whole numbers, decimals, booleans, dates and times",
            reason="COLUMN_TYPE",
        )


def _microseconds(column: pa.Array) -> list[date | None]:
    if pa.types.is_date(column.type):
        return list(column.cast(pa.date32()).to_pylist())
    return list(pc.floor_temporal(column, unit="microsecond").cast(pa.timestamp("us", column.type.tz)).to_pylist())


def _plain(number: Decimal) -> str:
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
