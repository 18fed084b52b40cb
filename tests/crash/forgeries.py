"""Ways to spoil a history that keeps every law, each with the law that is broken by it."""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from services.eventstore.event import ANY_VERSION, Position, RecordedEvent, StreamName
from tests.crash.history import Attempt, History, Outcome, Session
from tests.crash.law import Law

Log = tuple[RecordedEvent, ...]
Forgery = Callable[[History, Log], tuple[History, Log]]


def _acknowledged(history: History, minimum: int = 1) -> Attempt:
    """The last append that was acknowledged at the first attempt, of so many events at least, at an exact version."""
    asked = [attempt.ids for attempt in history.attempts]
    return [
        attempt
        for attempt in history.attempts
        if attempt.answer
        and attempt.expected != ANY_VERSION
        and len(attempt.ids) >= minimum
        and asked.count(attempt.ids) == 1
    ][-1]


def _with(history: History, old: Attempt, new: Attempt) -> History:
    return replace(history, attempts=tuple(new if each is old else each for each in history.attempts))


def _place(log: Log, event_id: str) -> int:
    return next(index for index, event in enumerate(log) if event.id.hex == event_id)


def _lose(history: History, log: Log) -> tuple[History, Log]:
    lost = set(_acknowledged(history).ids)
    return history, tuple(event for event in log if event.id.hex not in lost)


def _tear(history: History, log: Log) -> tuple[History, Log]:
    torn = _acknowledged(history, minimum=2).ids[-1]
    return history, tuple(event for event in log if event.id.hex != torn)


def _double(history: History, log: Log) -> tuple[History, Log]:
    return history, (*log, replace(log[0], position=Position(log[-1].position + 1)))


def _make_up(history: History, log: Log) -> tuple[History, Log]:
    made_up = replace(log[-1], position=Position(log[-1].position + 1), version=log[-1].version + 1, id=UUID(int=1))
    return history, (*log, made_up)


def _change(history: History, log: Log) -> tuple[History, Log]:
    return history, (*log[:-1], replace(log[-1], payload=log[-1].payload + b"!"))


def _change_leaf(history: History, log: Log) -> tuple[History, Log]:
    return history, (*log[:-1], replace(log[-1], leaf=bytes(32)))


def _skip_version(history: History, log: Log) -> tuple[History, Log]:
    return history, (*log[:-1], replace(log[-1], version=log[-1].version + 1))


def _skip_position(history: History, log: Log) -> tuple[History, Log]:
    return history, (*log[:-1], replace(log[-1], position=Position(log[-1].position + 1)))


def _tell_another_place(history: History, log: Log) -> tuple[History, Log]:
    told = _acknowledged(history)
    assert told.answer is not None
    return _with(history, told, replace(told, answer=replace(told.answer, position=told.answer.position - 1))), log


def _tell_another_leaf(history: History, log: Log) -> tuple[History, Log]:
    told = _acknowledged(history)
    assert told.answer is not None
    leaves = ("00" * 32, *told.answer.leaves[1:])
    return _with(history, told, replace(told, answer=replace(told.answer, leaves=leaves))), log


def _refuse_what_is_there(history: History, log: Log) -> tuple[History, Log]:
    told = _acknowledged(history)
    newest = str(log[_place(log, told.ids[-1])].version)
    return _with(history, told, replace(told, outcome=Outcome.REFUSED, answer=None, detail=newest)), log


def _refuse_at_the_expected_version(history: History, log: Log) -> tuple[History, Log]:
    told = _acknowledged(history)
    detail = str(told.expected)
    return _with(history, told, replace(told, outcome=Outcome.REFUSED, answer=None, detail=detail)), log


def _expect_another_version(history: History, log: Log) -> tuple[History, Log]:
    told = _acknowledged(history)
    return _with(history, told, replace(told, expected=told.expected + 1)), log


def _begin_after_a_later_one(history: History, log: Log) -> tuple[History, Log]:
    """The first append of the log begins when all others have been acknowledged."""
    first = next(each for each in history.attempts if log[0].id.hex in each.ids)
    late_ns = max(each.ended_ns or 0 for each in history.attempts) + 1
    others = tuple(each for each in history.attempts if each.ids != first.ids)
    return replace(history, attempts=(*others, replace(first, invoked_ns=late_ns, ended_ns=late_ns + 1))), log


def _fail_strangely(history: History, log: Log) -> tuple[History, Log]:
    told = _acknowledged(history)
    return _with(history, told, replace(told, outcome=Outcome.UNFORESEEN, answer=None, detail="KeyError")), log


def _with_first_session(history: History, change: Callable[[Session], Session]) -> History:
    return replace(history, sessions=(change(history.sessions[0]), *history.sessions[1:]))


def _skip_a_delivery(history: History, log: Log) -> tuple[History, Log]:
    def skip(session: Session) -> Session:
        first = session.deliveries[0]
        return replace(session, deliveries=(replace(first, events=first.events[1:]), *session.deliveries[1:]))

    return _with_first_session(history, skip), log


def _deliver_twice(history: History, log: Log) -> tuple[History, Log]:
    def again(session: Session) -> Session:
        first = session.deliveries[0]
        return replace(session, deliveries=(replace(first, events=first.events * 2), *session.deliveries[1:]))

    return _with_first_session(history, again), log


def _deliver_another(history: History, log: Log) -> tuple[History, Log]:
    def swap(session: Session) -> Session:
        first = session.deliveries[0]
        events = ((first.events[0][0], "ff" * 16), *first.events[1:])
        return replace(session, deliveries=(replace(first, events=events), *session.deliveries[1:]))

    return _with_first_session(history, swap), log


def _go_on_elsewhere(history: History, log: Log) -> tuple[History, Log]:
    moved = Session("follower/all", frozenset(), log[-1].position + 1, ())
    return replace(history, sessions=(*history.sessions, moved)), log


def _read_an_old_head(history: History, log: Log) -> tuple[History, Log]:
    late_ns = max(each.ended_ns or 0 for each in history.attempts) + 1
    end = max(each.answer.position for each in history.attempts if each.answer)
    old = replace(history.head_reads[-1], invoked_ns=late_ns, ended_ns=late_ns + 1, position=end - 1)
    return replace(history, head_reads=(*history.head_reads, old)), log


def _read_a_head_that_is_not_there(history: History, log: Log) -> tuple[History, Log]:
    ahead = replace(history.head_reads[-1], position=log[-1].position + 1)
    return replace(history, head_reads=(ahead,)), log


def _read_an_old_stream(history: History, log: Log) -> tuple[History, Log]:
    told = _acknowledged(history)
    late_ns = max(each.ended_ns or 0 for each in history.attempts) + 1
    old = replace(history.stream_reads[0], stream=told.stream, invoked_ns=late_ns, ended_ns=late_ns + 1, ids=())
    return replace(history, stream_reads=(old,)), log


def _read_what_is_not_there(history: History, log: Log) -> tuple[History, Log]:
    wrong = replace(history.stream_reads[0], stream=str(StreamName("shared", "0")), ids=("ff" * 16,), invoked_ns=0)
    return replace(history, stream_reads=(wrong,)), log


FORGERIES: dict[str, tuple[Forgery, Law]] = {
    "an acknowledged append is lost": (_lose, Law.KEPT),
    "an append lost its last event": (_tear, Law.WHOLE),
    "an event is there twice": (_double, Law.ONCE),
    "an event was made up": (_make_up, Law.NO_PHANTOM),
    "a payload was changed": (_change, Law.NO_PHANTOM),
    "a leaf was changed": (_change_leaf, Law.CHAIN),
    "a version was skipped": (_skip_version, Law.STREAM_ORDER),
    "a position was skipped": (_skip_position, Law.POSITIONS),
    "another place was answered": (_tell_another_place, Law.IN_PLACE),
    "another leaf was answered": (_tell_another_leaf, Law.IN_PLACE),
    "what is there was refused": (_refuse_what_is_there, Law.REFUSED_STAYS_OUT),
    "it was refused at the expected version": (_refuse_at_the_expected_version, Law.REFUSED_FOR_A_REASON),
    "another version was expected": (_expect_another_version, Law.EXPECTED_VERSION),
    "it began after a later one": (_begin_after_a_later_one, Law.REAL_TIME),
    "it failed strangely": (_fail_strangely, Law.FORESEEN),
    "a delivery was skipped": (_skip_a_delivery, Law.NO_SKIP),
    "a delivery came twice": (_deliver_twice, Law.NO_REPEAT),
    "another event was delivered": (_deliver_another, Law.TRUE_DELIVERY),
    "a subscription went on elsewhere": (_go_on_elsewhere, Law.RESUMED),
    "an old head was read": (_read_an_old_head, Law.FRESH_READ),
    "a head was read that is not there": (_read_a_head_that_is_not_there, Law.TRUE_DELIVERY),
    "an old stream was read": (_read_an_old_stream, Law.FRESH_READ),
    "a stream was read that is not there": (_read_what_is_not_there, Law.TRUE_DELIVERY),
}
"""By what happened."""
