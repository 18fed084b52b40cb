"""How a seeded bug gets into a process: one function each, which replaces a part of the product in its memory.

Only worker processes under test are ever touched; the product itself has none of it.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from services.eventstore import subscription
from services.eventstore.draft import AppendRequest, PreparedAppend, _Drafting, prepare
from services.eventstore.event import Appended, Position, WrongExpectedVersion
from services.eventstore.group_commit import GroupCommit
from services.eventstore.sqlite import commit as sqlite_commit
from services.eventstore.sqlite import writer as sqlite_writer
from services.eventstore.sqlite.writer import SqliteWriter
from services.eventstore.sqlite.writer_lock import WriterLock
from services.kernel.errors import DomainError
from services.projection import folder
from tests.crash import writer
from tests.crash.history import Outcome

_Answers = Sequence[Appended | WrongExpectedVersion]

PAUSE_S = 0.004
"""How long a window stays open that a bug opens; the real one would only be met less often."""


def acknowledge_before_commit() -> None:
    """The transaction stays open until the callers have been answered."""
    held: list[Any] = []

    def commit(self: SqliteWriter, requests: Sequence[AppendRequest]) -> _Answers:
        prepared = prepare(requests, self._clock.now())
        lock = self._lock.held()
        lock.__enter__()
        held.append(lock)
        assert self._connection is not None
        self._connection.execute("BEGIN IMMEDIATE")
        return sqlite_commit.write_commit(self._connection, prepared)

    def commit_at_last(self: SqliteWriter) -> None:
        _pause()
        assert self._connection is not None
        self._connection.execute("COMMIT")
        held.pop().__exit__(None, None, None)

    _replace(SqliteWriter, "commit", commit)
    _replace(SqliteWriter, "checkpoint_when_large", commit_at_last)


def no_lock() -> None:
    """Nobody waits for anybody: heads are read before the transaction begins, and the last writer wins."""

    @contextmanager
    def not_held(self: WriterLock) -> Iterator[None]:
        yield

    connect = sqlite_writer.connect_writer
    _replace(WriterLock, "held", not_held)
    _replace(sqlite_writer, "connect_writer", lambda *arguments, **options: _Careless(connect(*arguments, **options)))


class _Careless:
    """A connection whose transactions begin only at their first write, and that overwrites what is in its way."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._is_reading = False

    def execute(self, statement: str, *arguments: Any) -> Any:
        """As the connection does, but for the bug."""
        if statement == "BEGIN IMMEDIATE":
            self._is_reading = True
            return None
        if self._is_reading and statement == "COMMIT":
            self._is_reading = False
            return None
        if self._is_reading and not statement.lstrip().startswith(("SELECT", "WITH")):
            self._is_reading = False
            _pause()
            self._connection.execute("BEGIN IMMEDIATE")
        if "ON CONFLICT" not in statement:
            statement = statement.replace("INSERT INTO", "INSERT OR REPLACE INTO")
        return self._connection.execute(statement, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def checkpoint_in_a_second_transaction() -> None:
    """The fold is committed, and only then the checkpoint is moved."""
    move_checkpoint = folder.move_checkpoint

    def move_later(connection: Connection, *arguments: Any) -> None:
        connection.exec_driver_sql("COMMIT")
        _pause()
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        move_checkpoint(connection, *arguments)

    _replace(folder, "move_checkpoint", move_later)


def repeat_in_other_chunks() -> None:
    """What has no answer yet goes into the next append, together with what came since."""
    settle = writer.Writer.settle

    def settle_in_chunks(self: writer.Writer, wish: writer.Wish) -> None:
        outcome = self._ended(*self._begun(wish))
        if outcome is Outcome.UNKNOWN and not self._stop.wait(_PATIENCE_S):
            newer = self._wish(wish.stream, wish.expected)
            settle(self, _at_the_end(self, replace(wish, events=(*wish.events, *newer.events))))

    def _at_the_end(self: writer.Writer, wish: writer.Wish) -> writer.Wish:
        return replace(wish, expected=self._version_of(wish.stream))

    _replace(writer.Writer, "settle", settle_in_chunks)


def repeats_known_in_memory_only() -> None:
    """A repeat is recognised by the process that wrote the append, and by no other."""
    repeated = _Drafting._repeated
    written: set[Any] = set()
    answer = _Drafting.answer

    def remember(self: _Drafting, append: PreparedAppend) -> Appended | WrongExpectedVersion:
        answered = answer(self, append)
        if isinstance(answered, Appended):
            written.update(event.id for event in append.request.events)
        return answered

    def repeated_here(self: _Drafting, request: AppendRequest) -> Appended | None:
        return repeated(self, request) if {event.id for event in request.events} <= written else None

    _replace(_Drafting, "answer", remember)
    _replace(_Drafting, "_repeated", repeated_here)


def subscription_one_too_far() -> None:
    """A subscription goes on behind the position after the one that its client has."""
    follow = subscription.follow

    def follow_later(log: Any, bell: Any, *, after: Position, **rest: Any) -> Any:
        return follow(log, bell, after=Position(after + 1 if after else after), **rest)

    _replace_everywhere("follow", follow, follow_later)


def subscription_delivers_again() -> None:
    """A subscription begins with the event that its client has already."""
    follow = subscription.follow

    def follow_earlier(log: Any, bell: Any, *, after: Position, **rest: Any) -> Any:
        return follow(log, bell, after=Position(max(0, after - 1)), **rest)

    _replace_everywhere("follow", follow, follow_earlier)


def one_transaction_an_event() -> None:
    """An append of many events is written event by event."""
    commit = SqliteWriter.commit

    def commit_one_by_one(self: SqliteWriter, requests: Sequence[AppendRequest]) -> _Answers:
        return [_written_one_by_one(self, request) for request in requests]

    def _written_one_by_one(self: SqliteWriter, request: AppendRequest) -> Appended | WrongExpectedVersion:
        leaves: list[bytes] = []
        expected = request.expected_version
        for event in request.events:
            answer = commit(self, [AppendRequest(request.stream, (event,), expected)])[0]
            if isinstance(answer, WrongExpectedVersion):
                return answer
            leaves += answer.leaves
            expected = answer.version
        return replace(answer, leaves=tuple(leaves))

    _replace(SqliteWriter, "commit", commit_one_by_one)


def failed_commit_taken_for_done() -> None:
    """An error while committing is logged, and the callers are answered as if all were well."""
    commit = SqliteWriter.commit
    first_free = [1]

    def hopeful(self: SqliteWriter, requests: Sequence[AppendRequest]) -> _Answers:
        try:
            answers = commit(self, requests)
        except DomainError:
            position = Position(first_free[0] + 1)
            return [
                Appended(position, len(request.events) - 1, self._clock.now(), (b"",) * len(request.events))
                for request in requests
            ]
        first_free[0] = max((each.position for each in answers if isinstance(each, Appended)), default=first_free[0])
        return answers

    _replace(SqliteWriter, "commit", hopeful)


def answers_mixed_up() -> None:
    """In a group of several appends each caller is told what became of its neighbour's."""
    answer = GroupCommit._answer

    def answer_the_neighbour(group: list[Any], answers: Sequence[Any]) -> None:
        answer(group, [*answers[1:], *answers[:1]])

    _replace(GroupCommit, "_answer", staticmethod(answer_the_neighbour))


def no_sync() -> None:
    """Commits are handed to the operating system, which writes them when it likes: right until the power fails."""
    connect = sqlite_writer.connect_writer

    def connect_carelessly(*arguments: Any, **options: Any) -> Any:
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    _replace(sqlite_writer, "connect_writer", connect_carelessly)


_PATIENCE_S = 0.05


def _pause() -> None:
    threading.Event().wait(PAUSE_S)


def _replace(owner: Any, name: str, replacement: Any) -> None:
    assert hasattr(owner, name), f"{owner} has no {name} any more; plant the bug elsewhere"
    setattr(owner, name, replacement)


def _replace_everywhere(name: str, original: Any, replacement: Any) -> None:
    """In every module that imported it by name."""
    from services.eventstore import memory
    from services.eventstore.sqlite import read_only

    for module in (subscription, memory, read_only):
        assert getattr(module, name) is original
        setattr(module, name, replacement)
