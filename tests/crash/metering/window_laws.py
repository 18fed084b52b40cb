"""The laws of answers: whatever a usage query said at a position, a plain count of the log up to there says, too."""

from collections.abc import Sequence

from tests.crash.law import Law, Violation, broken
from tests.crash.metering.ledger import Asked
from tests.crash.metering.plain_count import Answer, PlainCount

NOUGHT = "0"


def answer_violations(asked: Sequence[Asked], plain: PlainCount) -> list[Violation]:
    """Check answers over all times, one row a subject and group."""
    found = []
    for each in asked:
        expected = plain.answer(each.meter, each.position)
        if not is_same(each.rows, expected):
            found.append(f"{_question(each)}: {differences(each.rows, expected)}")
    return [
        *broken(Law.WINDOWS, found),
        *broken(
            Law.FRESH_READ,
            [
                *(f"{_question(each)}: at least {each.at_least} was asked for" for each in asked if _is_old(each)),
                *_gone_back(asked),
            ],
        ),
    ]


def hour_violations(asked: Sequence[Asked], plain: PlainCount) -> list[Violation]:
    """Check answers hour by hour, which are read from the hour states one by one; all are of one position."""
    found = []
    for each in asked:
        expected = plain.hours(each.meter, each.position)
        if not is_same(each.rows, expected):
            found.append(f"{_question(each)} by hours: {differences(each.rows, expected)}")
    return broken(Law.PROJECTION, found)


def is_same(rows: Answer, expected: Answer) -> bool:
    """Whether two answers are the same; a row of nothing is as good as none."""
    return _telling(rows) == _telling(expected)


def differences(rows: Answer, expected: Answer) -> str:
    """The first rows that differ."""
    keys = sorted(key for key in rows.keys() | expected.keys() if rows.get(key, NOUGHT) != expected.get(key, NOUGHT))
    shown = [f"{key} is {rows.get(key)}, should be {expected.get(key)}" for key in keys[:3]]
    return f"{len(keys)} rows differ: " + "; ".join(shown)


def _telling(rows: Answer) -> Answer:
    return {key: value for key, value in rows.items() if value != NOUGHT}


def _is_old(asked: Asked) -> bool:
    return not asked.is_as_of and asked.position < asked.at_least


def _gone_back(asked: Sequence[Asked]) -> list[str]:
    """Answers of a replica that has given a later one before; answers stand in the order in which they were asked."""
    latest: dict[str, int] = {}
    found = []
    for each in asked:
        if not each.is_as_of:
            before = latest.setdefault(each.replica, each.position)
            if each.position < before:
                found.append(f"{_question(each)} says {each.replica}, which has answered at {before} before")
            latest[each.replica] = max(before, each.position)
    return found


def _question(asked: Asked) -> str:
    return f"{asked.meter} {'as of' if asked.is_as_of else 'at'} {asked.position}"
