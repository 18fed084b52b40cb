"""The rules that a usage event must keep, one function a field. Each takes a whole column.

A column is accepted whole where that is quick to see, because nearly every column is; only where it is not, its
entries are looked at one by one. Problems are returned by row.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from operator import methodcaller

from services.ingest.problem import Problem, shown
from services.kernel.clock import from_epoch_us
from services.kernel.ids import IDENTIFIER_RULE, PROPERTY_KEY_RULE, is_identifier, is_property_key
from services.kernel.quantity import FRACTION_DIGITS_MAX, INTEGER_DIGITS_MAX, is_decimal_text

IDENTIFIER_CHARACTERS_MAX = 256
FUTURE_MAX_US = 24 * 3_600 * 1_000_000
PROPERTIES_MAX = 64
PROPERTY_TEXT_CHARACTERS_MAX = 1_024
PROPERTY_KEYS_MAX = 256
"""Different property keys in one request; each takes a column of the stored batch."""
RESERVED_SOURCE_PREFIX = "backfill/"
"""Sources of this form are made by ingest itself, for the usage of backfills."""

TIME_US_MIN = -62_135_596_800_000_000  # 0001-01-01T00:00:00Z
TIME_US_MAX = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z

_ANY_DECIMAL = re.compile(r"-?([0-9]+)(?:\.([0-9]+))?")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DECIMAL_RULE = (
    f'write plain decimal text such as "12.5", at most {INTEGER_DIGITS_MAX} integer and '
    f"{FRACTION_DIGITS_MAX} fractional digits"
)

_texts_of: Callable[[Mapping[str, str]], Collection[str]] = methodcaller("values")


def identifier_problems(field: str, column: Sequence[str]) -> dict[int, Problem]:
    """Id, source, type and subject: 1 to 256 characters, none of them a control character."""
    if "" not in column and max(map(len, column)) <= IDENTIFIER_CHARACTERS_MAX and "".join(column).isprintable():
        return {}
    return {row: identifier_problem(field, text) for row, text in enumerate(column) if not is_identifier(text)}


def source_problems(column: Sequence[str], prefix: str = "") -> dict[int, Problem]:
    """As every identifier; not of the reserved form, and not too long once `prefix` stands before it."""
    bad = {name: problem for name in set(column) if (problem := source_problem(name, prefix)) is not None}
    return {row: bad[name] for row, name in enumerate(column) if name in bad} if bad else {}


def time_problems(
    seconds: Sequence[int], nanos: Sequence[int], is_set: Sequence[bool], now_us: int
) -> dict[int, Problem]:
    """Set, in the years 1 to 9999, nanos from 0 to 999,999,999, and not more than 24 hours after `now_us`."""
    latest_us = latest_time_us(now_us)
    is_quick = (
        all(is_set)
        and min(seconds) * 1_000_000 >= TIME_US_MIN
        and max(seconds) * 1_000_000 < latest_us - 1_000_000
        and min(nanos) >= 0
        and max(nanos) < 1_000_000_000
    )
    if is_quick:
        return {}
    found = (time_problem(*time, now_us, latest_us) for time in zip(seconds, nanos, is_set, strict=True))
    return {row: problem for row, problem in enumerate(found) if problem is not None}


def latest_time_us(now_us: int) -> int:
    """The latest time that is accepted."""
    return min(now_us + FUTURE_MAX_US, TIME_US_MAX)


def value_problems(column: Sequence[str]) -> dict[int, Problem]:
    """Plain decimal text with at most 26 integer and 12 fractional digits."""
    bad = {text: value_problem(text) for text in set(column) if not is_decimal_text(text)}
    return {row: bad[text] for row, text in enumerate(column) if text in bad} if bad else {}


def property_problems(column: Sequence[Mapping[str, str]], refused: Collection[int]) -> dict[int, Problem]:
    """At most 64 properties with keys and texts as they should be; over all rows at most PROPERTY_KEYS_MAX keys.

    The keys of `refused` rows do not count. Texts hold any character but U+0000.
    """
    if _are_properties_quick(column):
        return {}
    return dict(_property_problems(column, refused))


def _are_properties_quick(column: Sequence[Mapping[str, str]]) -> bool:
    if max(map(len, column)) > PROPERTIES_MAX:
        return False
    keys = set().union(*column)
    if len(keys) > PROPERTY_KEYS_MAX or not all(map(is_property_key, keys)):
        return False
    texts = list(chain.from_iterable(map(_texts_of, column)))
    return max(map(len, texts), default=0) <= PROPERTY_TEXT_CHARACTERS_MAX and "\0" not in "".join(texts)


def _property_problems(column: Sequence[Mapping[str, str]], refused: Collection[int]) -> Iterator[tuple[int, Problem]]:
    known: set[str] = set()
    for row, properties in enumerate(column):
        if row in refused:
            continue
        problem = _row_problem(properties) or _key_count_problem(known, properties)
        if problem is not None:
            yield row, problem
        else:
            known.update(properties)


def source_problem(name: str, prefix: str) -> Problem | None:
    """What is wrong with one source; None when nothing is."""
    if not is_identifier(name):
        return identifier_problem("source", name)
    if name.startswith(RESERVED_SOURCE_PREFIX):
        message = f'source begins with "{RESERVED_SOURCE_PREFIX}", which is reserved; name a backfill in the request'
        return Problem("SOURCE_RESERVED", "source", message)
    rest = IDENTIFIER_CHARACTERS_MAX - len(prefix)
    if len(name) > rest:
        message = f"source has {len(name)} characters; within this backfill, give at most {rest}"
        return Problem("SOURCE_TOO_LONG", "source", message)
    return None


def identifier_problem(field: str, text: str) -> Problem:
    """What is wrong with one text that is no identifier."""
    name = field.upper()
    if not text:
        return Problem(f"{name}_EMPTY", field, f"{field} is empty; give {IDENTIFIER_RULE}")
    if len(text) > IDENTIFIER_CHARACTERS_MAX:
        message = f"{field} has {len(text)} characters; give at most {IDENTIFIER_CHARACTERS_MAX}"
        return Problem(f"{name}_TOO_LONG", field, message)
    control = _CONTROL_CHARACTER.search(text)
    assert control is not None, "nothing else is wrong with an identifier"
    message = f"{field} has the control character U+{ord(control[0]):04X} at character {control.start() + 1}; remove it"
    return Problem(f"{name}_CONTROL_CHARACTER", field, message)


def time_problem(seconds: int, nanos: int, is_set: bool, now_us: int, latest_us: int) -> Problem | None:
    """What is wrong with one time; None when nothing is. `latest_us` is the latest that is accepted."""
    if not is_set:
        return Problem("TIME_MISSING", "time", "time is missing; say when the usage happened")
    time_us = seconds * 1_000_000 + nanos // 1_000
    if not (TIME_US_MIN <= time_us <= TIME_US_MAX and 0 <= nanos < 1_000_000_000):
        message = (
            f"time is {seconds} s and {nanos} ns; a timestamp lies in the years 1 to 9999, its nanos in 0 to 999999999"
        )
        return Problem("TIME_OUT_OF_RANGE", "time", message)
    if time_us > latest_us:
        sent, now = from_epoch_us(time_us).isoformat(), from_epoch_us(now_us).isoformat()
        message = f"time is {sent}, more than 24 hours after {now}; check the producer's clock and its unit"
        return Problem("TIME_IN_FUTURE", "time", message)
    return None


def value_problem(text: str) -> Problem:
    """What is wrong with one text that is no decimal."""
    digits = _ANY_DECIMAL.fullmatch(text)
    if digits is None:
        return Problem("VALUE_NOT_DECIMAL", "value", f"value is {shown(text)}; {_DECIMAL_RULE}")
    message = f"value has {len(digits[1])} integer and {len(digits[2] or '')} fractional digits; {_DECIMAL_RULE}"
    return Problem("VALUE_TOO_MANY_DIGITS", "value", message)


def _row_problem(properties: Mapping[str, str]) -> Problem | None:
    if len(properties) > PROPERTIES_MAX:
        return property_count_problem(len(properties))
    found = (property_problem(key, text) for key, text in properties.items())
    return next((problem for problem in found if problem is not None), None)


def property_count_problem(count: int) -> Problem:
    """A usage event has too many properties."""
    return Problem("PROPERTIES_TOO_MANY", "properties", f"there are {count} properties; send at most {PROPERTIES_MAX}")


def property_problem(key: str, text: str) -> Problem | None:
    """What is wrong with one property; None when nothing is."""
    if not is_property_key(key):
        message = f"a property is named {shown(key)}; use {PROPERTY_KEY_RULE}"
        return Problem("PROPERTY_KEY_INVALID", "properties", message)
    if len(text) > PROPERTY_TEXT_CHARACTERS_MAX:
        message = f"the property has {len(text)} characters; send at most {PROPERTY_TEXT_CHARACTERS_MAX}"
        return Problem("PROPERTY_TOO_LONG", f"properties.{key}", message)
    if "\0" in text:
        return Problem("PROPERTY_HAS_NUL", f"properties.{key}", "the property holds the character U+0000; remove it")
    return None


def _key_count_problem(known: set[str], properties: Mapping[str, str]) -> Problem | None:
    if len(known.union(properties)) <= PROPERTY_KEYS_MAX:
        return None
    message = (
        f"with this one the request would have more than {PROPERTY_KEYS_MAX} different property names; "
        "put what varies into the text of a property, not into its name"
    )
    return Problem("PROPERTY_KEYS_TOO_MANY", "properties", message)
