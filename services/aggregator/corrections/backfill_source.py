"""Sources of backfills: `backfill/<key>/<source>` says that a usage event belongs to the backfill <key>."""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

PREFIX = "backfill/"


def backfill_key(source: str) -> str:
    """The key of the backfill that a source belongs to; empty for none."""
    key, slash, _ = source.removeprefix(PREFIX).partition("/")
    return key if slash and source.startswith(PREFIX) else ""


def source_prefix(key: str) -> str:
    """How every source of the backfill begins."""
    return f"{PREFIX}{key}/"


def has_backfilled(sources: pa.DictionaryArray) -> bool:
    """Whether any of the sources of a column may be that of a backfill."""
    return bool(pc.any(pc.starts_with(sources.dictionary, PREFIX)).as_py())


def where_source(sources: pa.DictionaryArray, holds: Callable[[str], bool]) -> pa.Array:
    """Whether `holds` is true for each entry's source; it is asked once for each different one."""
    answers = [holds(source) for source in sources.dictionary.to_pylist()]
    return pa.array(answers, pa.bool_()).take(sources.indices)
