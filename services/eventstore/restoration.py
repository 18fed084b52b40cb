"""The commits of a restore, each with its events, checked before a backend writes anything. Pure."""

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from services.eventstore.audit.chain import Commit, merkle_root, next_chain, recorded_leaf
from services.eventstore.event import Head, RecordedEvent, StreamName
from services.kernel.errors import Conflict, Corrupt

LOG_DIFFERS = "LOG_DIFFERS"


@dataclass(frozen=True, slots=True)
class WholeCommit:
    """A commit of another log together with all of its events, in order."""

    commit: Commit
    events: tuple[RecordedEvent, ...]


def whole_commits(events: Sequence[RecordedEvent], commits: Sequence[Commit]) -> tuple[WholeCommit, ...]:
    """Each commit with its events; every leaf and root, and each chain but the first, is recomputed.

    Raises Corrupt, naming the position, when commits and events do not belong together or are not what was recorded.
    """
    left = iter(events)
    wholes = tuple(_whole(commit, left, len(events)) for commit in commits)
    surplus = next(left, None)
    if surplus is not None:
        raise Corrupt(f"position {surplus.position}: no commit covers this event; take the whole archive")
    for before, after in pairwise(commits):
        _require_continued(before, after)
    return wholes


def unwritten(wholes: Sequence[WholeCommit], head: Head) -> tuple[WholeCommit, ...]:
    """Those that come behind the head and continue it; those before must be compared with what stands there.

    Raises Conflict (LOG_DIFFERS) when the first of them starts elsewhere, or continues another chain.
    """
    behind = tuple(whole for whole in wholes if whole.commit.last_position > head.position)
    if behind:
        _require_behind(behind[0].commit, head)
    return behind


def require_standing(whole: WholeCommit, leaves: Sequence[bytes], chain: bytes | None) -> None:
    """The log must hold this very commit: its leaves at its positions, and its chain. Raises Conflict (LOG_DIFFERS)."""
    for event, leaf in zip(whole.events, leaves, strict=False):
        if event.leaf != leaf:
            raise differs(event.position)
    if len(leaves) != len(whole.events) or chain != whole.commit.chain:
        raise differs(whole.commit.first_position)


def next_versions(wholes: Iterable[WholeCommit], current_version: Callable[[StreamName], int]) -> dict[StreamName, int]:
    """The newest version of each stream that they write to; raises Corrupt when a stream would get a gap."""
    versions: dict[StreamName, int] = {}
    for event in (event for whole in wholes for event in whole.events):
        before = versions.get(event.stream)
        expected = (current_version(event.stream) if before is None else before) + 1
        if event.version != expected:
            raise Corrupt(
                f"position {event.position}: stream {event.stream} goes on with version {event.version}, not "
                f"{expected}; this is not the log that was recorded"
            )
        versions[event.stream] = event.version
    return versions


def differs(position: int) -> Conflict:
    """The error for a log that holds something else than what is restored."""
    return Conflict(
        f"the log holds something else at position {position} than what is restored; stop whatever writes to it, and "
        "restore into an empty log",
        reason=LOG_DIFFERS,
        metadata={"position": str(position)},
    )


def _whole(commit: Commit, left: Iterable[RecordedEvent], count_max: int) -> WholeCommit:
    count = commit.last_position - commit.first_position + 1
    events = tuple(islice(left, count)) if 1 <= count <= count_max else ()
    positions = [event.position for event in events]
    if not events or positions != list(range(commit.first_position, commit.last_position + 1)):
        raise Corrupt(
            f"position {commit.first_position}: the commit up to {commit.last_position} does not cover its events; "
            "take the whole archive"
        )
    if merkle_root([_checked_leaf(event) for event in events]) != commit.root:
        raise Corrupt(f"position {commit.first_position}: the root of this commit is not that of its events")
    return WholeCommit(commit, events)


def _checked_leaf(event: RecordedEvent) -> bytes:
    try:
        leaf = recorded_leaf(event)
    except struct.error as error:
        raise Corrupt(f"position {event.position}: the event's header cannot be ({error})") from error
    if leaf != event.leaf:
        raise Corrupt(f"position {event.position}: the event does not give its leaf; it is not what was recorded")
    return leaf


def _require_continued(before: Commit, after: Commit) -> None:
    if after.first_position != before.last_position + 1:
        raise Corrupt(f"position {before.last_position + 1}: no commit covers it; take the whole archive")
    if after.chain != next_chain(before.chain, after.root, after.last_position):
        raise Corrupt(f"position {after.first_position}: the chain of this commit does not continue the one before")


def _require_behind(commit: Commit, head: Head) -> None:
    if commit.first_position > head.position + 1:
        raise Conflict(
            f"the log ends at position {head.position}, what is restored begins at {commit.first_position}; "
            "restore what lies between first",
            reason=LOG_DIFFERS,
        )
    is_next = commit.first_position == head.position + 1
    if not is_next:
        raise differs(commit.first_position)
    if commit.chain != next_chain(head.chain, commit.root, commit.last_position):
        raise differs(head.position or commit.first_position)
