"""A log is sealed, verified and proved the same way on every backend."""

from pathlib import Path
from uuid import UUID

import pytest

from services.eventstore.audit.chain import merkle_root
from services.eventstore.audit.proof import EventProof, checked_event_proof
from services.eventstore.audit.proof_file import parsed_proof, proof_text
from services.eventstore.audit.proving import find_event, prove_consistency, prove_event
from services.eventstore.audit.sealed_log import SealedLog
from services.eventstore.audit.tiles import TileReader
from services.eventstore.audit.verify import Span
from services.eventstore.event import ANY_VERSION, BEGINNING, NewEvent, StreamName
from services.eventstore.store import EventStore
from services.kernel.errors import Corrupt
from tests.audit_room import KEYS, fill, memory_log, sealed, verified


def test_a_log_is_sealed_as_it_grows(store: EventStore, tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    for size in (1, 20, 300):
        count = len(store.read_all(after=BEGINNING).events)
        fill(store, size - count, first=count + 1)
        checkpoint = sealed(store, folder)
        leaves = [event.leaf for event in store.read_all(after=BEGINNING).events]
        assert (checkpoint.size, checkpoint.root) == (size, merkle_root(leaves))
        found = verified(store, folder)
        assert (found.verified, found.events, found.sealed) == (True, size, size), found.problem


def test_unicode_binary_and_empty_payloads_are_sealed(store: EventStore, tmp_path: Path) -> None:
    for number, payload in enumerate((b"", bytes(range(256)), "žluťoučký".encode(), bytes(200_000))):
        name = StreamName("usage", f"größe/{number}")
        store.append(name, [NewEvent(UUID(int=number + 1), "Ereignis", 7, payload)], ANY_VERSION)
    sealed(store, tmp_path / "audit")
    assert verified(store, tmp_path / "audit").sealed == 4


def test_any_event_is_proved(store: EventStore, tmp_path: Path) -> None:
    fill(store, 20)
    checkpoint = sealed(store, tmp_path / "audit")
    opened = SealedLog.opened(store, tmp_path / "audit", KEYS)
    for event in store.read_all(after=BEGINNING).events:
        for name in (str(event.position), f"{event.stream}/{event.version}", str(event.id)):
            proof = prove_event(opened, find_event(store, opened, name), KEYS)
            assert proof.event.id == event.id
            parsed = parsed_proof(proof_text(proof))
            assert isinstance(parsed, EventProof)
            assert checked_event_proof(parsed, KEYS) == checkpoint


def test_any_span_is_verified(store: EventStore, tmp_path: Path) -> None:
    fill(store, 20)
    sealed(store, tmp_path / "audit")
    positions = [event.position for event in store.read_all(after=BEGINNING).events]
    for first, last in ((0, 0), (0, 19), (6, 12), (19, 19)):
        found = verified(store, tmp_path / "audit", Span(positions[first], positions[last]))
        assert found.verified, found.problem
        assert found.sealed >= last - first + 1
    assert verified(store, tmp_path / "audit", Span(positions[4])).verified


def test_a_longer_log_began_as_the_shorter_one(store: EventStore, tmp_path: Path) -> None:
    fill(store, 7)
    old = sealed(store, tmp_path)
    fill(store, 12, first=8)
    new = sealed(store, tmp_path)
    assert prove_consistency(TileReader(tmp_path, new.size), old, new, KEYS).path


def test_another_log_is_refused(store: EventStore, tmp_path: Path) -> None:
    fill(store, 20, payload=b"another")
    sealed(memory_log(20), tmp_path)
    first = store.read_all(after=BEGINNING, limit=1).events[0].position
    with pytest.raises(Corrupt, match="nothing was signed") as alarm:
        sealed(store, tmp_path)
    assert alarm.value.metadata["first_bad_position"] == str(first)


@pytest.mark.parametrize("content", [b"", bytes(160), b"\xff" * 160, bytes(range(160))])
def test_positions_that_are_lost_or_wrong_are_renewed(content: bytes, store: EventStore, tmp_path: Path) -> None:
    fill(store, 20)
    sealed(store, tmp_path)
    if (tmp_path / "positions").exists():
        (tmp_path / "positions").write_bytes(content)
    fill(store, 5, first=21)
    assert sealed(store, tmp_path).size == 25
    assert verified(store, tmp_path).sealed == 25
