"""An archive that carries a signed checkpoint holds what was sealed, and is imported as it was found signed."""

from collections.abc import Collection
from pathlib import Path

import pytest

from services.cli import archiving
from services.cli.archiving import export_audit, import_log
from services.cli.failure import CommandFailed
from services.cli.screen import Screen
from services.eventstore.archive.check import ArchiveCheck, check_archive
from services.eventstore.archive.exporting import Span
from services.eventstore.audit.note import VerifierKey
from services.eventstore.event import Position
from services.eventstore.sqlite.store import SqliteEventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Conflict, RuleViolated
from tests.archives import EVENT_COUNT, SIGNER, START, archive_of, fill, filled, leaves, lines, plain, sealed_by
from tests.audit_room import sealed

KEYS = (SIGNER.verifier,)
SCREEN = Screen(as_json=True)


@pytest.fixture
def log(tmp_path: Path) -> str:
    """Fourteen events that are sealed into the folder `audit`, and five more."""
    store = SqliteEventStore(tmp_path / "log.db", SimulatedClock(START))
    fill(store)
    sealed(store, tmp_path / "audit", SIGNER)
    fill(store, [2, 3], first_id=100)
    store.close()
    return f"sqlite:///{tmp_path}/log.db"


@pytest.mark.parametrize("first", [15, 16, 17, 19])
def test_what_is_not_sealed_yet_is_not_exported_for_an_audit(log: str, tmp_path: Path, first: int) -> None:
    target = tmp_path / "part"
    with pytest.raises(RuleViolated, match="run `meterlog audit seal`") as refused:
        export_audit(log, str(target), tmp_path / "audit", KEYS, SCREEN, first=Position(first), last=Position(19))
    assert refused.value.reason == "NOT_SEALED_YET"
    assert not target.exists()


def test_the_last_sealed_event_is_exported(log: str, tmp_path: Path) -> None:
    exported = export_audit(log, str(tmp_path / "part"), tmp_path / "audit", KEYS, SCREEN, first=Position(14))
    assert (exported.end.events, exported.end.size) == (1, EVENT_COUNT)


def test_without_commits_what_is_not_sealed_yet_is_refused_too() -> None:
    origin = filled()
    fill(origin, [5], first_id=100)
    store = plain(origin)
    stand = [event.position for event in store.read_all(after=Position(0)).events]
    with pytest.raises(RuleViolated, match="is sealed yet"):
        archive_of(store, Span(stand[EVENT_COUNT + 1], size_max=EVENT_COUNT), sealed_by(SIGNER, origin, EVENT_COUNT))


def test_without_commits_an_export_may_begin_between_two_events() -> None:
    store = plain(filled())
    stand = [event.position for event in store.read_all(after=Position(0)).events]
    archive = archive_of(store, Span(Position(stand[3] + 5)), sealed_by(SIGNER, filled()))
    assert archive == archive_of(store, Span(stand[3]), sealed_by(SIGNER, filled()))
    assert check_archive(lines(archive), KEYS).verified


def test_an_archive_that_is_changed_between_check_and_import_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, origin = tmp_path / "archive", filled()
    source.write_bytes(archive_of(origin, seal_at=sealed_by(SIGNER, origin)))
    check_file = archiving.check_file

    def checked_and_changed(path: str, screen: Screen, keys: Collection[VerifierKey]) -> ArchiveCheck:
        found = check_file(path, screen, keys)
        source.write_bytes(archive_of(filled(first_id=500)))
        return found

    monkeypatch.setattr(archiving, "check_file", checked_and_changed)
    with pytest.raises(CommandFailed, match="was changed while it was imported") as refused:
        import_log(str(source), f"sqlite:///{tmp_path}/new.db", SCREEN, KEYS)
    assert refused.value.reason == "NOT_VERIFIED"


def test_a_foreign_log_is_refused_with_the_position_of_what_differs(tmp_path: Path) -> None:
    store = SqliteEventStore(tmp_path / "log.db", SimulatedClock(START))
    fill(store, [2], first_id=500)
    before = leaves(store)
    store.close()
    (tmp_path / "archive").write_bytes(archive_of(filled()))
    with pytest.raises(Conflict, match="something else at position 1 than"):
        import_log(str(tmp_path / "archive"), f"sqlite:///{tmp_path}/log.db", SCREEN)
    store = SqliteEventStore(tmp_path / "log.db", SimulatedClock(START))
    assert leaves(store) == before
    store.close()
