"""Read an archive and check all of it on the way: order, leaves, roots, chain, tree, signature, and each byte. Pure."""

import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from services.eventstore.archive.lines import (
    LINE_BYTES_MAX,
    LINK_START,
    ArchivedEvent,
    End,
    Header,
    Line,
    Seal,
    spelled,
)
from services.eventstore.archive.parsing import NotALine, understood
from services.eventstore.archive.sealing import checked_seal
from services.eventstore.audit.chain import CHAIN_START, Commit, merkle_root, next_chain, recorded_leaf
from services.eventstore.audit.note import VerifierKey
from services.eventstore.audit.tree import Frontier
from services.eventstore.event import BEGINNING, Position, RecordedEvent
from services.kernel.errors import Corrupt, InvalidInput

PIECE_EVENTS_MAX: Final = 1_000
PIECE_BYTES_MAX: Final = 4 * 1024 * 1024
COMMIT_EVENTS_MAX: Final = 1_000_000
COMMIT_BYTES_MAX: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Piece:
    """Events that were checked, at least one: those of a commit, or of a log without commits some that follow."""

    first_ordinal: int
    events: tuple[RecordedEvent, ...]
    commit: Commit | None


Part = Header | Piece | Seal | End


class ArchiveDamaged(Corrupt):
    """An archive is not what was written: at which line, at which position as far as it is known, and what is wrong."""

    default_reason = "ARCHIVE_DAMAGED"

    def __init__(self, line: int, position: Position | None, problem: str) -> None:
        where = f"line {line}" if position is None else f"line {line} (position {position})"
        super().__init__(f"the archive is damaged at {where}: {problem}", metadata={"line": str(line)})
        self.line = line
        self.position = position
        self.problem = problem


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, newlines included; one that is too long for an archive comes cut."""
    while line := file.readline(LINE_BYTES_MAX):
        yield line


def read_archive(lines: Iterable[bytes], keys: Collection[VerifierKey] = ()) -> Iterator[Part]:
    """The parts of an archive in order, each after it was checked: the header first, the end last.

    With `keys`, a seal must carry the signature of one of them. Raises ArchiveDamaged at the first line that is wrong;
    what came before holds, but only the end proves that nothing is missing.
    """
    return _Reading(lines, keys).parts()


class _Reading:
    """How far an archive is read, and what its next line has to continue."""

    def __init__(self, lines: Iterable[bytes], keys: Collection[VerifierKey]) -> None:
        self._lines = iter(lines)
        self._keys = keys
        self._number = 0
        self._link = LINK_START
        self._header = Header(has_commits=False, after=BEGINNING, first_ordinal=0, left=(), chain=b"")
        self._edge = Frontier()
        self._chain = b""
        self._position = BEGINNING
        self._first_leaf = b""
        self._commits = 0
        self._waiting: list[RecordedEvent] = []
        self._waiting_bytes = 0
        self._content = b""

    def parts(self) -> Iterator[Part]:
        yield self._begun()
        seal: Seal | None = None
        while True:
            line = self._next()
            if seal is not None and not isinstance(line, End):
                raise self._damaged("only the end may follow a seal")
            match line:
                case ArchivedEvent():
                    self._take(line)
                    if not self._header.has_commits and self._is_piece_full():
                        yield self._piece(None)
                case Commit():
                    yield self._committed(line)
                case Seal():
                    yield from self._rest()
                    seal = line
                    self._check_seal(seal)
                    yield seal
                case End():
                    yield from self._rest()
                    yield self._ended(line)
                    return
                case Header():
                    raise self._damaged("a second header stands here; is this two archives in one?")

    def _begun(self) -> Header:
        header = self._next()
        if not isinstance(header, Header):
            raise self._damaged("the header is missing")
        try:
            self._edge = Frontier(header.first_ordinal, header.left)
        except InvalidInput as error:
            raise self._damaged(error.message) from error
        self._require_plausible(header)
        self._header, self._chain, self._position = header, header.chain, header.after
        return header

    def _require_plausible(self, header: Header) -> None:
        is_first = header.first_ordinal == 0
        if header.has_commits and header.after != header.first_ordinal:
            raise self._damaged(f"{header.first_ordinal} events lie before position {header.after}; it must be as many")
        if header.has_commits != bool(header.chain) or (
            header.has_commits and is_first != (header.chain == CHAIN_START)
        ):
            raise self._damaged("the chain does not fit to where the archive begins")

    def _next(self) -> Line:
        """The next line, once its bytes are those that its values are spelled with behind the line before."""
        self._content = content = next(self._lines, b"")
        self._number += 1
        if not content.endswith(b"\n"):
            raise self._damaged(self._cut_short(content))
        try:
            line = understood(content)
        except NotALine as error:
            raise self._damaged(str(error)) from error
        if isinstance(line, ArchivedEvent):
            self._require_next(line)
        spelling, link = spelled(line, self._link)
        if spelling != content:
            raise self._damaged("a byte of it was changed, or a line in front of it is missing")
        self._link = link
        return line

    def _cut_short(self, content: bytes) -> str:
        if len(content) >= LINE_BYTES_MAX:
            return f"it is longer than {LINE_BYTES_MAX} bytes"
        return "the archive is cut short here; its end is missing"

    def _require_next(self, line: ArchivedEvent) -> None:
        expected = self._next_ordinal
        if line.ordinal > expected:
            raise self._damaged(f"the event {expected} of the log is missing, {line.ordinal} follows")
        if line.ordinal < expected:
            raise self._damaged(f"the event {line.ordinal} of the log stands here again, or too late")
        position = line.event.position
        if self._header.has_commits and position != expected + 1:
            raise self._damaged(f"position {expected + 1} must come here, not {position}")
        if position <= self._position:
            raise self._damaged(f"position {position} cannot follow {self._position}")

    def _take(self, line: ArchivedEvent) -> None:
        event = line.event
        try:
            leaf = recorded_leaf(event)
        except struct.error as error:
            raise self._damaged(f"the event's header cannot be: {error}") from error
        if leaf != event.leaf:
            raise self._damaged("the event does not give its leaf: its payload, its header or the leaf was changed")
        self._position = event.position
        if line.ordinal == 0:
            self._first_leaf = leaf
        self._waiting.append(event)
        self._waiting_bytes += len(event.payload)
        if len(self._waiting) > COMMIT_EVENTS_MAX or self._waiting_bytes > COMMIT_BYTES_MAX:
            raise self._damaged("no commit is as large as the events that wait for one here")

    def _committed(self, commit: Commit) -> Piece:
        if not self._header.has_commits or not self._waiting:
            raise self._damaged("a commit stands here without events")
        first, last = self._waiting[0].position, self._waiting[-1].position
        if (commit.first_position, commit.last_position) != (first, last):
            raise self._damaged(f"the commit must cover positions {first} to {last}")
        if commit.root != merkle_root([event.leaf for event in self._waiting]):
            raise self._damaged(f"the root is not that of positions {first} to {last}")
        if commit.chain != next_chain(self._chain, commit.root, commit.last_position):
            raise self._damaged("the chain does not continue that of the commit before")
        self._chain = commit.chain
        self._commits += 1
        return self._piece(commit)

    def _piece(self, commit: Commit | None) -> Piece:
        piece = Piece(self._edge.size, tuple(self._waiting), commit)
        self._edge = self._edge.extended([event.leaf for event in piece.events])
        self._waiting.clear()
        self._waiting_bytes = 0
        return piece

    def _rest(self) -> Iterator[Piece]:
        """The events that no piece holds yet; a log with commits has none of them."""
        if self._waiting and self._header.has_commits:
            raise self._damaged(f"no commit covers position {self._waiting[0].position} and what follows")
        if self._waiting:
            yield self._piece(None)

    def _check_seal(self, seal: Seal) -> None:
        try:
            checked_seal(seal, self._edge, self._first_leaf, self._keys)
        except Corrupt as error:
            raise self._damaged(error.message) from error

    def _ended(self, end: End) -> End:
        size = self._edge.size
        events = size - self._header.first_ordinal
        found = End(events, self._commits, self._position, self._chain, size, self._edge.root())
        if end != found:
            raise self._damaged(
                f"the end does not fit to what it ends: {events} events up to position {self._position}"
            )
        if next(self._lines, b""):
            self._number += 1
            raise self._damaged("something stands behind the end")
        return end

    def _is_piece_full(self) -> bool:
        return len(self._waiting) >= PIECE_EVENTS_MAX or self._waiting_bytes >= PIECE_BYTES_MAX

    @property
    def _next_ordinal(self) -> int:
        return self._edge.size + len(self._waiting)

    def _damaged(self, problem: str) -> ArchiveDamaged:
        """The error at this line and, as far as it is known, at the position of the first event that it concerns."""
        if self._content.startswith(_BEHIND_EVENTS):
            position = self._waiting[0].position if self._waiting else None
        elif self._header.has_commits:
            position = Position(self._next_ordinal + 1)
        else:
            position, problem = None, f"{problem} (behind position {self._position})"
        return ArchiveDamaged(self._number, position, problem)


_BEHIND_EVENTS: Final = (b'{"kind":"commit"', b'{"kind":"seal"', b'{"kind":"end"')
