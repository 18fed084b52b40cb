"""What a commit will hold, decided before anything is written: which appends are placed, repeated or refused. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.eventstore.audit.chain import Commit, leaf_hashes, merkle_root, next_chain
from services.eventstore.event import (
    ANY_VERSION,
    Appended,
    Head,
    NewEvent,
    Position,
    RecordedEvent,
    StreamName,
    WrongExpectedVersion,
)
from services.kernel.clock import epoch_us

CurrentVersion = Callable[[StreamName], int]
"""The version that a stream is at before the commit; NO_STREAM when it does not exist."""

StandingEvents = Callable[[StreamName, int, int], Sequence[RecordedEvent]]
"""Up to so many events of a stream from a version upwards, as they stand before the commit."""


@dataclass(frozen=True, slots=True)
class AppendRequest:
    """An append as the caller asked for it, already found appendable."""

    stream: StreamName
    events: tuple[NewEvent, ...]
    expected_version: int


@dataclass(frozen=True, slots=True)
class PreparedAppend:
    """An append with the leaves of its events, hashed ahead wherever the version is known ahead (else none)."""

    request: AppendRequest
    recorded_at: datetime
    leaves: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class PlacedAppend:
    """An append with its place in the log: its events get the positions and versions that follow the first ones."""

    request: AppendRequest
    recorded_at: datetime
    first_position: int
    first_version: int
    leaves: tuple[bytes, ...]

    @property
    def appended(self) -> Appended:
        """The answer to the caller, true once the commit is durable."""
        further = len(self.leaves) - 1
        return Appended(
            Position(self.first_position + further), self.first_version + further, self.recorded_at, self.leaves
        )

    def recorded_events(self) -> list[RecordedEvent]:
        """The events as readers will see them."""
        return [
            RecordedEvent(
                position=Position(self.first_position + index),
                stream=self.request.stream,
                version=self.first_version + index,
                id=event.id,
                type=event.type,
                schema_version=event.schema_version,
                recorded_at=self.recorded_at,
                payload=event.payload,
                leaf=self.leaves[index],
            )
            for index, event in enumerate(self.request.events)
        ]


@dataclass(frozen=True, slots=True)
class CommitDraft:
    """A commit that is decided and not yet written: one answer a request, in order; no `commit` when none is placed."""

    placed: tuple[PlacedAppend, ...]
    answers: tuple[Appended | WrongExpectedVersion, ...]
    commit: Commit | None


def prepare(requests: Sequence[AppendRequest], now: datetime) -> list[PreparedAppend]:
    """Hash what can be hashed before the log is locked."""
    return [PreparedAppend(request, now, _expected_leaves(request, now)) for request in requests]


def draft_commit(
    appends: Sequence[PreparedAppend], head: Head, current_version: CurrentVersion, standing: StandingEvents
) -> CommitDraft:
    """Place the appends in order behind `head`; one that cannot be placed is answered by itself and costs no other.

    An exact expected version that is passed already is a repeat when the same event ids stand there.
    """
    drafting = _Drafting(head.position, current_version, standing)
    answers = tuple(drafting.answer(append) for append in appends)
    return CommitDraft(tuple(drafting.placed), answers, _commit(drafting.placed, head))


class _Drafting:
    """The log as it stands while the appends of one commit are placed one by one."""

    def __init__(self, last_position: int, current_version: CurrentVersion, standing: StandingEvents) -> None:
        self.placed: list[PlacedAppend] = []
        self._last_position = last_position
        self._versions: dict[StreamName, int] = {}
        self._current_version = current_version
        self._standing = standing

    def answer(self, append: PreparedAppend) -> Appended | WrongExpectedVersion:
        request = append.request
        current = self._version_of(request.stream)
        if request.expected_version in (ANY_VERSION, current):
            return self._place(append, current + 1)
        if request.expected_version < current:
            repeated = self._repeated(request)
            if repeated is not None:
                return repeated
        return WrongExpectedVersion(request.stream, request.expected_version, current)

    def _version_of(self, stream: StreamName) -> int:
        version = self._versions.get(stream)
        if version is None:
            version = self._versions[stream] = self._current_version(stream)
        return version

    def _place(self, append: PreparedAppend, first_version: int) -> Appended:
        request = append.request
        leaves = append.leaves or leaf_hashes(
            request.stream, first_version, request.events, epoch_us(append.recorded_at)
        )
        placed = PlacedAppend(request, append.recorded_at, self._last_position + 1, first_version, leaves)
        self.placed.append(placed)
        self._last_position += len(leaves)
        self._versions[request.stream] = first_version + len(leaves) - 1
        return placed.appended

    def _repeated(self, request: AppendRequest) -> Appended | None:
        found = self._events_behind(request)
        if [event.id for event in found] != [event.id for event in request.events]:
            return None
        last = found[-1]
        return Appended(last.position, last.version, last.recorded_at, tuple(event.leaf for event in found))

    def _events_behind(self, request: AppendRequest) -> list[RecordedEvent]:
        """The events that follow the expected version, those of this very commit included, as many as requested."""
        first_version, wanted = request.expected_version + 1, len(request.events)
        found = list(self._standing(request.stream, first_version, wanted))
        for placed in self.placed:
            if placed.request.stream == request.stream:
                found += [event for event in placed.recorded_events() if event.version >= first_version]
        return found[:wanted]


def _expected_leaves(request: AppendRequest, now: datetime) -> tuple[bytes, ...]:
    if request.expected_version == ANY_VERSION:
        return ()
    return leaf_hashes(request.stream, request.expected_version + 1, request.events, epoch_us(now))


def _commit(placed: Sequence[PlacedAppend], head: Head) -> Commit | None:
    if not placed:
        return None
    root = merkle_root([leaf for append in placed for leaf in append.leaves])
    last_position = placed[-1].appended.position
    first_position = Position(placed[0].first_position)
    return Commit(first_position, last_position, root, next_chain(head.chain, root, last_position))
