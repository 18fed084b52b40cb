"""Checkpoints, keys and proofs keep their exact bytes: who holds one from an older release must be able to check it."""

from pathlib import Path

import pytest

from services.eventstore.audit.note import VerifierKey
from services.eventstore.audit.proof import (
    ConsistencyProof,
    EventProof,
    checked_consistency_proof,
    checked_event_proof,
)
from services.eventstore.audit.proof_file import parsed_proof, proof_text
from services.eventstore.audit.proving import find_event, prove_consistency, prove_event
from services.eventstore.audit.sealed_log import SealedLog
from services.eventstore.audit.tiles import TileReader
from tests.audit_room import KEY, KEYS, fill, memory_log, sealed

FILES = Path(__file__).with_name("audit")


@pytest.fixture
def written(tmp_path: Path) -> dict[str, str]:
    """What this release writes for a log that never changes."""
    log = memory_log(4)
    old = sealed(log, tmp_path)
    fill(log, 7, first=5)
    new = sealed(log, tmp_path)
    opened = SealedLog.opened(log, tmp_path, KEYS)
    return {
        "private.key": KEY.secret_text() + "\n",
        "public.key": f"{KEY.verifier}\n",
        "checkpoint-4.txt": old.note,
        "checkpoint-11.txt": new.note,
        "event.json": proof_text(prove_event(opened, find_event(log, opened, "6"), KEYS)),
        "consistency.json": proof_text(prove_consistency(TileReader(tmp_path, 11), old, new, KEYS)),
    }


def test_what_is_written_is_what_was_written(written: dict[str, str]) -> None:
    assert {path.name: path.read_text() for path in FILES.iterdir()} == written


def test_what_was_written_is_believed() -> None:
    keys = (VerifierKey.parse((FILES / "public.key").read_text()),)
    event = parsed_proof((FILES / "event.json").read_text())
    assert isinstance(event, EventProof)
    assert checked_event_proof(event, keys).note == (FILES / "checkpoint-11.txt").read_text()
    consistency = parsed_proof((FILES / "consistency.json").read_text())
    assert isinstance(consistency, ConsistencyProof)
    old, new = checked_consistency_proof(consistency, keys)
    assert (old.size, new.size, event.index, event.event.payload) == (4, 11, 5, b"payload")
