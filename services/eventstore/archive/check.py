"""Check an archive from its first byte to its last, and say how far it is proved and by whom."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final

from services.eventstore.archive.exporting import Progress
from services.eventstore.archive.lines import End, Header, Seal
from services.eventstore.archive.reading import ArchiveDamaged, Piece, read_archive
from services.eventstore.audit.note import VerifierKey
from services.eventstore.event import Position

_UNSEALED: Final = (
    "it carries no signed checkpoint, so no key proves it; ask for one that `meterlog audit export` wrote"
)


@dataclass(frozen=True, slots=True)
class ArchiveCheck:
    """What an archive holds, as far as it is proved: `events` of the log behind its first `first_ordinal`.

    `seal` is the checkpoint's note that covers them, empty when the archive carries none; whether it was signed with a
    known key was looked at only when one was given. Unless it is `verified`, line and position say where it breaks.
    """

    verified: bool
    first_ordinal: int
    events: int
    root: str
    chain: str
    seal: str = ""
    first_bad_line: int | None = None
    first_bad_position: Position | None = None
    problem: str = ""


def check_archive(
    lines: Iterable[bytes], keys: Collection[VerifierKey] = (), progress: Progress = lambda _position: None
) -> ArchiveCheck:
    """Read the whole archive. With keys it must carry a checkpoint that one of them signed."""
    first_ordinal = events = 0
    seal, end = "", None
    try:
        for part in read_archive(lines, keys):
            match part:
                case Header():
                    first_ordinal = part.first_ordinal
                case Piece():
                    events += len(part.events)
                    progress(part.events[-1].position)
                case Seal():
                    seal = part.note
                case End():
                    end = part
    except ArchiveDamaged as error:
        return ArchiveCheck(False, first_ordinal, events, "", "", seal, error.line, error.position, error.problem)
    assert end is not None, "a reading without an error comes to the end"
    proved = ArchiveCheck(True, first_ordinal, events, end.root.hex(), end.chain.hex(), seal)
    return replace(proved, verified=False, problem=_UNSEALED) if keys and not seal else proved
