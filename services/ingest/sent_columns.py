"""The columns of a checked Arrow stream, brought to the types of the log; what does not fit is told by row."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from services.eventstore.usage_batch import VALUE
from services.ingest.arrow_stream import FIELD
from services.ingest.column_rules import Mask, are_decimals
from services.ingest.rules import TIME_US_MAX, TIME_US_MIN
from services.kernel.errors import InvalidInput
from services.kernel.quantity import EXACT, is_decimal_text

PER_SECOND: Final[Mapping[str, int]] = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
IDS_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes of all ids, one for each row: a dictionary of few long ones could come to far more than was sent."""

_OFFSET_BYTES: Final = 4
_ONE: Final = pa.scalar(Decimal(1), VALUE)


@dataclass(frozen=True, slots=True)
class SentTexts:
    """A column of text, dictionary-coded without nulls among the entries; a row may be null."""

    column: pa.DictionaryArray

    def rows_where(self, rule: Callable[[pa.StringArray], Mask]) -> Mask:
        """Which rows' texts the rule tells; never a null."""
        flags = rule(self.column.dictionary)
        rows = np.zeros(len(self.column), np.bool_)
        if flags.any():
            codes = pc.fill_null(self.column.indices, 0).to_numpy(zero_copy_only=False)
            rows = flags[codes] & ~self.nulls()
        return rows

    def nulls(self) -> Mask:
        """Which rows are null."""
        nulls: Mask = self.column.indices.is_null().to_numpy(zero_copy_only=False)
        return nulls

    def text(self, row: int) -> str:
        """The text of a row; empty for null."""
        return str(self.column[row].as_py() or "")


@dataclass(frozen=True, slots=True)
class SentTimes:
    """Times as they were sent, `per_second` a second, and in microseconds, cut; 0 for what is out of range."""

    sent: NDArray[np.int64]
    per_second: int
    is_set: Mask
    is_in_range: Mask
    times_us: NDArray[np.int64]

    def seconds_and_nanos(self, row: int) -> tuple[int, int]:
        """A time as a protobuf timestamp says it."""
        seconds, rest = divmod(int(self.sent[row]), self.per_second)
        return seconds, rest * (PER_SECOND["ns"] // self.per_second)


@dataclass(frozen=True, slots=True)
class SentValues:
    """Values in the type of the log, 0 where one does not fit, and the text of those that do not, by row."""

    values: pa.Array
    wrong: Mapping[int, str]


def one_array(chunks: Sequence[pa.Array]) -> pa.Array:
    """The arrays of one column in all record batches, as one array."""
    if len(chunks) == 1:
        return chunks[0]
    whole = pa.chunked_array(chunks)
    if pa.types.is_dictionary(whole.type):
        whole = whole.unify_dictionaries()
    return whole.combine_chunks()


def sent_texts(name: str, chunks: Sequence[pa.Array]) -> SentTexts:
    """A column of text; raises InvalidInput when a dictionary of it has null for an entry."""
    return SentTexts(one_array([_encoded(name, chunk) for chunk in chunks]))


def constant_texts(text: str, count: int) -> SentTexts:
    """A column that is given once."""
    codes = pa.array(np.zeros(count, np.int32))
    return SentTexts(pa.DictionaryArray.from_arrays(codes, pa.array([text], pa.utf8())))


def sent_ids(chunks: Sequence[pa.Array]) -> pa.StringArray:
    """The ids, empty for null; raises InvalidInput when they are too much."""
    size = sum(_decoded_bytes(chunk) for chunk in chunks)
    if size > IDS_BYTES_MAX:
        raise InvalidInput(
            f"the ids have {size} bytes in all; an id has at most 256 characters",
            field=f"{FIELD}.id",
            reason="ARROW_TOO_LARGE",
        )
    plain = [chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk for chunk in chunks]
    return _without_rest(pc.fill_null(one_array([chunk.cast(pa.utf8()) for chunk in plain]), ""))


def sent_times(chunks: Sequence[pa.Array]) -> SentTimes:
    """The times; those finer than a microsecond are cut down."""
    column = one_array(chunks)
    per_second = PER_SECOND[column.type.unit] if pa.types.is_timestamp(column.type) else PER_SECOND["us"]
    is_set: Mask = column.is_valid().to_numpy(zero_copy_only=False)
    sent = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    is_in_range: Mask = (sent >= _in_unit(TIME_US_MIN, per_second)) & (sent <= _in_unit(TIME_US_MAX, per_second))
    within = np.where(is_in_range, sent, 0)
    finer, coarser = max(1, per_second // PER_SECOND["us"]), max(1, PER_SECOND["us"] // per_second)
    return SentTimes(sent, per_second, is_set, is_in_range, within // finer * coarser)


def sent_values(chunks: Sequence[pa.Array]) -> SentValues:
    """The values, 1 for null."""
    if pa.types.is_decimal(chunks[0].type) or pa.types.is_integer(chunks[0].type):
        return _numbers(one_array(chunks))
    return _decimal_texts(sent_texts("value", chunks))


def ones(count: int) -> SentValues:
    """So many values of usage events that say none."""
    return SentValues(pa.repeat(_ONE, count), {})


def _encoded(name: str, chunk: pa.Array) -> pa.DictionaryArray:
    if not pa.types.is_dictionary(chunk.type):
        return chunk.cast(pa.utf8()).dictionary_encode()
    if chunk.dictionary.null_count:
        raise InvalidInput(
            f'the dictionary of column "{name}" has a null entry; make the row null instead',
            field=f"{FIELD}.{name}",
            reason="ARROW_SCHEMA",
        )
    distinct = chunk.dictionary.cast(pa.utf8()).dictionary_encode()
    is_distinct = len(distinct.dictionary) == len(chunk.dictionary)
    codes = chunk.indices.cast(pa.int32()) if is_distinct else distinct.indices.take(chunk.indices)
    return pa.DictionaryArray.from_arrays(codes, distinct.dictionary)


def _decoded_bytes(chunk: pa.Array) -> int:
    if not pa.types.is_dictionary(chunk.type):
        return 0
    lengths = pc.binary_length(chunk.dictionary).take(chunk.indices)
    return int(pc.sum(lengths.cast(pa.int64())).as_py() or 0)


def _in_unit(time_us: int, per_second: int) -> int:
    """The same instant in another unit, cut down, and within 64 bits: nanoseconds reach from 1677 to 2262."""
    instant = time_us * per_second // PER_SECOND["us"]
    return min(max(instant, -(2**63)), 2**63 - 1)


def _without_rest(column: pa.Array) -> pa.Array:
    """The same, its first buffer no longer than it must be: a sender may have left anything behind. No nulls."""
    _, first, *others = column.buffers()
    if pa.types.is_string(column.type):
        width, count = _OFFSET_BYTES, len(column) + 1
    else:
        width, count = column.type.byte_width, len(column)
    exact = first.slice(column.offset * width, count * width)
    return pa.Array.from_buffers(column.type, len(column), [None, exact, *others], null_count=0)


def _numbers(column: pa.Array) -> SentValues:
    try:
        return SentValues(_without_rest(pc.fill_null(column.cast(VALUE), _ONE)), {})
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return _numbers_one_by_one(column)


def _numbers_one_by_one(column: pa.Array) -> SentValues:
    """Some has too many digits, or the type is one that Arrow does not cast as a whole."""
    texts = [_plain_text(number) for number in _decimals(column)]
    wrong = {row: text for row, text in enumerate(texts) if not is_decimal_text(text)}
    return SentValues(pa.array([Decimal(0 if row in wrong else text) for row, text in enumerate(texts)], VALUE), wrong)


def _decimals(column: pa.Array) -> Iterator[Decimal | None]:
    """The numbers of a decimal column. Arrow's own way to Python stumbles over some scales that it can read."""
    width, start = column.type.byte_width, column.offset
    content = memoryview(column.buffers()[1])[start * width : (start + len(column)) * width]
    for row, is_set in enumerate(column.is_valid().to_pylist()):
        units = int.from_bytes(content[row * width : (row + 1) * width], "little", signed=True)
        yield Decimal(units).scaleb(-column.type.scale, EXACT) if is_set else None


def _plain_text(number: Decimal | None) -> str:
    if number is None:
        return "1"
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _decimal_texts(texts: SentTexts) -> SentValues:
    entries, codes = texts.column.dictionary, texts.column.indices
    is_decimal = are_decimals(entries)
    decimals = pc.if_else(pa.array(is_decimal), entries, "0").cast(VALUE)
    rows = np.flatnonzero(texts.rows_where(lambda _: ~is_decimal)).tolist() if not is_decimal.all() else []
    return SentValues(pc.fill_null(decimals.take(codes), _ONE), {row: texts.text(row) for row in rows})
