"""Writes the log as an archive, takes an archive over into a log, and checks one without any log."""

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from services.cli.failure import CommandFailed, misused
from services.cli.log_summary import LogSummary, summarise
from services.cli.screen import Screen
from services.cli.whole_file import whole_file
from services.eventstore.archive.check import ArchiveCheck, check_archive
from services.eventstore.archive.exporting import Exported, Progress, SealAt, Span, write_archive
from services.eventstore.archive.importing import Imported, import_archive
from services.eventstore.archive.reading import ArchiveDamaged, lines_of
from services.eventstore.archive.sealing import seal_for
from services.eventstore.audit.note import VerifierKey
from services.eventstore.audit.sealed_folder import SealedFolder
from services.eventstore.audit.tiles import TileReader
from services.eventstore.event import BEGINNING, Position
from services.eventstore.open import open_store
from services.eventstore.store import EventStore
from services.kernel.clock import SystemClock

STANDARD: Final = "-"
"""Instead of a file's name: standard output or standard input."""


def export_log(store_url: str, target: str, span: Span, screen: Screen, seal_at: SealAt | None = None) -> Exported:
    """Write a span of the log into a new file, or to standard output; the services may go on writing meanwhile."""
    with _opened(store_url, read_only=True) as store, _written(target) as file, _telling(screen, "exporting") as tell:
        return write_archive(store, span, file.write, seal_at=seal_at, progress=tell)


def import_log(source: str, store_url: str, screen: Screen, keys: Collection[VerifierKey] = ()) -> Imported:
    """Take an archive over into a log, which is created when it is missing; nobody else may write to it meanwhile.

    With keys it is checked from end to end before anything is written, because the signature comes last.
    """
    signed = _required_signed(source, screen, keys) if keys else None
    with _read(source) as file, _opened(store_url) as store, _telling(screen, "importing") as tell:
        try:
            imported = import_archive(store, lines_of(file), tell)
        except ArchiveDamaged as error:
            raise CommandFailed(
                f"{error.message}. The log ends at position {store.head().position} now, and up to there it was "
                "verified; repeat with an undamaged archive, and it goes on from there",
                reason=error.reason,
            ) from error
    if signed is not None:
        _require_same(signed, imported, source)
    return imported


def export_audit(
    store_url: str,
    target: str,
    sealed: Path,
    keys: Collection[VerifierKey],
    screen: Screen,
    *,
    first: Position | None = None,
    last: Position | None = None,
) -> Exported:
    """Write an archive that carries the newest checkpoint of the sealed folder, so that it proves itself.

    It holds the events from position `first` to `last` (default: all), widened to whole commits, as far as they are
    sealed. Raises NotFound when nothing was sealed, Corrupt when the checkpoint is not signed by one of the keys.
    """
    checkpoint = SealedFolder(sealed).required(keys)
    tiles = TileReader(sealed, checkpoint.size)
    after = BEGINNING if first is None else Position(max(first - 1, BEGINNING))
    span = Span(after, last, checkpoint.size)
    return export_log(store_url, target, span, screen, lambda edge: seal_for(checkpoint.note, edge, tiles.node))


def check_file(source: str, screen: Screen, keys: Collection[VerifierKey] = ()) -> ArchiveCheck:
    """Check a whole archive; with keys it must carry a checkpoint that one of them signed."""
    with _read(source) as file, _telling(screen, "checking") as tell:
        return check_archive(lines_of(file), keys, tell)


def summarise_log(store_url: str) -> LogSummary:
    """Count what a log holds."""
    with _opened(store_url, read_only=True) as store:
        return summarise(store)


def _required_signed(source: str, screen: Screen, keys: Collection[VerifierKey]) -> ArchiveCheck:
    if source == STANDARD:
        raise misused("the signature stands at an archive's end, so it is read twice; give a file instead of -")
    found = check_file(source, screen, keys)
    if not found.verified:
        line = "" if found.first_bad_line is None else f" at line {found.first_bad_line}"
        raise CommandFailed(f"nothing was imported: the archive fails{line}: {found.problem}", reason="NOT_VERIFIED")
    return found


def _require_same(signed: ArchiveCheck, imported: Imported, source: str) -> None:
    """The archive was read once for its signature and once for its events; another file may stand there by then."""
    end = imported.end
    size = signed.first_ordinal + signed.events
    if (size, signed.root, signed.chain) != (end.size, end.root.hex(), end.chain.hex()):
        raise CommandFailed(
            f"{source} was changed while it was imported: what the log got, up to position {imported.after.position}, "
            "is not what was found signed; discard this log, and import an archive that nobody else writes",
            reason="NOT_VERIFIED",
        )


@contextmanager
def _opened(store_url: str, *, read_only: bool = False) -> Iterator[EventStore]:
    store = open_store(store_url, SystemClock(), read_only=read_only)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _written(target: str) -> Iterator[BinaryIO]:
    if target != STANDARD:
        with whole_file(Path(target)) as file:
            yield file
        return
    if sys.stdout.isatty():
        raise misused("an archive is not written to a terminal; name a file, or redirect it")
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


@contextmanager
def _read(source: str) -> Iterator[BinaryIO]:
    if source == STANDARD:
        yield sys.stdin.buffer
        return
    if not Path(source).exists():
        raise misused(f"there is no file {source}; check the path", "FILE_NOT_FOUND")
    with Path(source).open("rb") as file:
        yield file


@contextmanager
def _telling(screen: Screen, what: str) -> Iterator[Progress]:
    """A line that says up to which position the work is done."""
    with screen.people.status(what) as status:
        yield lambda position: status.update(f"{what}: position {position}")
