"""Proofs stand by themselves: whatever is changed about a file, or claimed of another event, is not believed."""

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from services.eventstore.audit.checkpoint import sealed_checkpoint
from services.eventstore.audit.proof import (
    ConsistencyProof,
    EventProof,
    checked_consistency_proof,
    checked_event_proof,
)
from services.eventstore.audit.proof_file import parsed_proof, proof_text
from services.eventstore.audit.proving import find_event, prove_consistency, prove_event
from services.eventstore.audit.sealed_folder import SealedFolder
from services.eventstore.audit.sealed_log import SealedLog
from services.eventstore.audit.tiles import TileReader
from services.eventstore.event import ANY_VERSION, BEGINNING, NewEvent, StreamName
from services.eventstore.memory import MemoryEventStore
from services.eventstore.store import EventStore
from services.kernel.errors import Corrupt, InvalidInput, NotFound, RuleViolated
from tests.audit_room import CLOCK, KEY, KEYS, OTHER_KEY, GappedStore, fill, flipped, memory_log, sealed

EVENTS = 300


def proof_of(store: EventStore, folder: Path, name: str) -> EventProof:
    opened = SealedLog.opened(store, folder, KEYS)
    return prove_event(opened, find_event(store, opened, name), KEYS)


@pytest.fixture(params=["contiguous", "gapped"])
def store(request: pytest.FixtureRequest) -> EventStore:
    inner = memory_log(EVENTS)
    return GappedStore(inner) if request.param == "gapped" else inner


def test_every_event_is_proved(store: EventStore, tmp_path: Path) -> None:
    checkpoint = sealed(store, tmp_path)
    for index, event in enumerate(store.read_all(after=BEGINNING).events):
        proof = proof_of(store, tmp_path, str(event.position))
        assert (proof.event, proof.index) == (event, index)
        assert checked_event_proof(parsed_event_proof(proof_text(proof)), KEYS) == checkpoint


def parsed_event_proof(text: str) -> EventProof:
    proof = parsed_proof(text)
    assert isinstance(proof, EventProof)
    return proof


def test_an_event_is_found_by_whatever_it_is_called(store: EventStore, tmp_path: Path) -> None:
    sealed(store, tmp_path)
    event = store.read_all(after=BEGINNING).events[41]
    newest = store.read_stream(event.stream, from_version=-1, limit=1, backwards=True)[0]
    for name in (str(event.position), str(event.id), event.id.hex, f"{event.stream}/{event.version}"):
        assert proof_of(store, tmp_path, name).event == event
    assert proof_of(store, tmp_path, str(event.stream)).event == newest


@pytest.mark.parametrize("name", ["999999", "0", str(UUID(int=999)), "meter-0/999", "meter-nothing", "nothing", ""])
def test_what_is_not_there_is_not_found(name: str, store: EventStore, tmp_path: Path) -> None:
    sealed(store, tmp_path)
    with pytest.raises((NotFound, InvalidInput)):
        proof_of(store, tmp_path, name)


def test_a_stream_whose_id_looks_like_a_version_is_found(tmp_path: Path) -> None:
    log = MemoryEventStore(CLOCK)
    for stream in ("period-a/2", "period-a"):
        log.append(StreamName.parse(stream), [NewEvent(UUID(int=len(stream)), "Happened", 1, b"")], ANY_VERSION)
    sealed(log, tmp_path)
    assert str(proof_of(log, tmp_path, "period-a/2").event.stream) == "period-a/2"
    assert str(proof_of(log, tmp_path, "period-a/2/0").event.stream) == "period-a/2"
    assert str(proof_of(log, tmp_path, "period-a/0").event.stream) == "period-a"


def test_an_event_behind_the_newest_checkpoint_is_not_proved_yet(tmp_path: Path) -> None:
    log = memory_log(10)
    sealed(log, tmp_path)
    fill(log, 1, first=11)
    with pytest.raises(RuleViolated, match="not sealed yet"):
        proof_of(log, tmp_path, "11")


def test_an_event_that_is_not_the_one_that_was_sealed_is_not_proved(tmp_path: Path) -> None:
    log = memory_log(10)
    sealed(log, tmp_path)
    object.__setattr__(log._events[4], "payload", b"changed")
    with pytest.raises(Corrupt, match="another event than was sealed"):
        proof_of(log, tmp_path, "5")


def test_tiles_that_were_changed_prove_nothing(tmp_path: Path) -> None:
    log = memory_log(10)
    sealed(log, tmp_path)
    path = tmp_path / "tile/0/000.p/10"
    path.write_bytes(flipped(path.read_bytes(), 100))
    with pytest.raises(Corrupt, match="tiles do not lead"):
        proof_of(log, tmp_path, "1")


def test_every_turned_bit_of_an_event_proof_is_found(tmp_path: Path) -> None:
    log = memory_log(7)
    sealed(log, tmp_path)
    assert believed_changes(proof_text(proof_of(log, tmp_path, "3"))) == []


def test_every_turned_bit_of_a_consistency_proof_is_found(tmp_path: Path) -> None:
    assert believed_changes(proof_text(consistency_of(tmp_path, 3, 7))) == []


def believed_changes(text: str) -> list[str]:
    """The texts one bit away from that of a proof which are believed all the same."""
    content = text.encode()
    changes = [
        content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]
        for place in range(len(content))
        for bit in range(8)
    ]
    return [change.decode(errors="replace") for change in changes if is_believed(change.decode(errors="replace"))]


def is_believed(text: str) -> bool:
    try:
        proof = parsed_proof(text)
        if isinstance(proof, EventProof):
            checked_event_proof(proof, KEYS)
        else:
            checked_consistency_proof(proof, KEYS)
    except Corrupt:
        return False
    return True


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '"', "[" * 10_000, '{"version": 1}', '{"version": 2}'])
def test_a_file_that_is_no_proof_is_refused(text: str) -> None:
    with pytest.raises(Corrupt, match="no proof file"):
        parsed_proof(text)


def test_a_proof_that_was_cut_or_spaced_is_refused(tmp_path: Path) -> None:
    log = memory_log(3)
    sealed(log, tmp_path)
    text = proof_text(proof_of(log, tmp_path, "2"))
    for changed in (text[:-1], text + " ", text.replace(": ", ":"), text.replace("{", '{"x": 1,', 1)):
        assert not is_believed(changed)


def test_a_proof_does_not_hold_for_another_event_index_path_or_log(tmp_path: Path) -> None:
    log = memory_log(8)
    sealed(log, tmp_path)
    proof, other = proof_of(log, tmp_path, "3"), proof_of(log, tmp_path, "4")
    elsewhere = memory_log(3)
    fill(elsewhere, 5, first=4, payload=b"elsewhere")
    stranger = sealed(elsewhere, tmp_path / "other")
    for wrong in (
        replace(proof, event=other.event),
        replace(proof, index=other.index),
        replace(proof, index=-1),
        replace(proof, index=8),
        replace(proof, path=other.path),
        replace(proof, path=proof.path[:-1]),
        replace(proof, path=(*proof.path, bytes(32))),
        replace(proof, event=replace(proof.event, version=-1)),
        replace(proof, note=stranger.note),
    ):
        with pytest.raises(Corrupt):
            checked_event_proof(wrong, KEYS)
    with pytest.raises(Corrupt, match="with a key that is not"):
        checked_event_proof(proof, (OTHER_KEY.verifier,))


def consistency_of(folder: Path, old_size: int, size: int) -> ConsistencyProof:
    log = memory_log(old_size)
    old = sealed(log, folder)
    fill(log, size - old_size, first=old_size + 1)
    new = sealed(log, folder)
    return prove_consistency(TileReader(folder, size), old, new, KEYS)


@pytest.mark.parametrize(("old_size", "size"), [(1, 2), (4, 9), (255, 256), (256, 513), (300, 300)])
def test_a_log_that_only_grew_is_proved_to(old_size: int, size: int, tmp_path: Path) -> None:
    proof = parsed_proof(proof_text(consistency_of(tmp_path, old_size, size)))
    assert isinstance(proof, ConsistencyProof)
    old, new = checked_consistency_proof(proof, KEYS)
    assert (old.size, new.size) == (old_size, size)


def test_checkpoints_are_compared_in_either_order(tmp_path: Path) -> None:
    proof = consistency_of(tmp_path, 3, 7)
    folder = SealedFolder(tmp_path)
    turned = prove_consistency(
        TileReader(tmp_path, 7), folder.checkpoint_at(7, KEYS), folder.checkpoint_at(3, KEYS), KEYS
    )
    assert turned == proof


def test_a_log_that_was_rewritten_between_two_checkpoints_is_told(tmp_path: Path) -> None:
    log = memory_log(5)
    old = sealed(log, tmp_path / "old")
    rewritten = memory_log(4)
    fill(rewritten, 5, first=5, payload=b"rewritten")
    new = sealed(rewritten, tmp_path / "new")
    with pytest.raises(Corrupt, match="keep both checkpoints"):
        prove_consistency(TileReader(tmp_path / "new", 9), old, new, KEYS)


def test_two_roots_of_one_size_are_told_as_a_split_view(tmp_path: Path) -> None:
    checkpoint = sealed(memory_log(5), tmp_path)
    other = sealed_checkpoint(checkpoint.origin, 5, bytes(32), KEY)
    with pytest.raises(Corrupt, match="a split view") as told:
        prove_consistency(TileReader(tmp_path, 5), checkpoint, other, KEYS)
    assert told.value.reason == "SPLIT_VIEW"


def test_checkpoints_of_two_logs_are_told(tmp_path: Path) -> None:
    first = sealed(memory_log(5), tmp_path / "first")
    other_log = MemoryEventStore(CLOCK)
    fill(other_log, 7, payload=b"another log")
    second = sealed(other_log, tmp_path / "second")
    with pytest.raises(Corrupt, match="of two logs"):
        prove_consistency(TileReader(tmp_path / "second", 7), first, second, KEYS)


def test_a_folder_that_is_shorter_than_a_checkpoint_is_told(tmp_path: Path) -> None:
    old = sealed(memory_log(5), tmp_path / "short")
    new = sealed(memory_log(9), tmp_path / "long")
    with pytest.raises(RuleViolated, match="reaches to 5"):
        prove_consistency(TileReader(tmp_path / "short", 5), old, new, KEYS)
