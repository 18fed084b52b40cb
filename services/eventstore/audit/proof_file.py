"""Proofs as files: JSON in one exact form, so that no byte of it can change without being noticed."""

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Final, cast
from uuid import UUID

from services.eventstore.audit.note import exact_base64
from services.eventstore.audit.proof import ConsistencyProof, EventProof, Proof, broken_proof
from services.eventstore.audit.tree import HASH_BYTES
from services.eventstore.event import BEGINNING, RecordedEvent, StreamName
from services.kernel.clock import epoch_us, from_epoch_us
from services.kernel.errors import InvalidInput

EVENT_PROOF: Final = "meterlog-event-proof"
CONSISTENCY_PROOF: Final = "meterlog-consistency-proof"
PROOF_VERSION: Final = 1
PROOF_BYTES_MAX: Final = 4 * 1024 * 1024


def proof_text(proof: Proof) -> str:
    """The proof as the text of a file."""
    document = _event_document(proof) if isinstance(proof, EventProof) else _consistency_document(proof)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def parsed_proof(text: str) -> Proof:
    """The proof of a file's text; raises Corrupt for whatever `proof_text` does not write."""
    try:
        document = json.loads(text)
        proof = _parsed(document)
        is_exact = proof_text(proof) == text
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise broken_proof(f"it is no proof file: {error}") from error
    if not is_exact:
        raise broken_proof("its text was changed: a proof file has one form, to the byte")
    return proof


def _event_document(proof: EventProof) -> dict[str, object]:
    event = proof.event
    return {
        "format": EVENT_PROOF,
        "version": PROOF_VERSION,
        "event": {
            "stream": str(event.stream),
            "version": event.version,
            "id": str(event.id),
            "type": event.type,
            "schema_version": event.schema_version,
            "recorded_at_us": epoch_us(event.recorded_at),
            "payload": b64encode(event.payload).decode(),
        },
        "index": proof.index,
        "path": [b64encode(each).decode() for each in proof.path],
        "checkpoint": proof.note,
    }


def _consistency_document(proof: ConsistencyProof) -> dict[str, object]:
    return {
        "format": CONSISTENCY_PROOF,
        "version": PROOF_VERSION,
        "old_checkpoint": proof.old_note,
        "checkpoint": proof.note,
        "path": [b64encode(each).decode() for each in proof.path],
    }


def _parsed(document: Mapping[str, object]) -> Proof:
    if document["version"] != PROOF_VERSION:
        raise ValueError(f"version {document['version']!r} is not known to this release")
    if document["format"] == EVENT_PROOF:
        return EventProof(
            event=_event(cast(Mapping[str, object], document["event"])),
            index=_integer(document["index"]),
            path=_hashes(document["path"]),
            note=_text(document["checkpoint"]),
        )
    if document["format"] == CONSISTENCY_PROOF:
        return ConsistencyProof(
            _text(document["old_checkpoint"]), _text(document["checkpoint"]), _hashes(document["path"])
        )
    raise ValueError(f"the format {document['format']!r} is not known")


def _event(document: Mapping[str, object]) -> RecordedEvent:
    try:
        stream = StreamName.parse(_text(document["stream"]))
    except InvalidInput as error:
        raise ValueError(error.message) from error
    return RecordedEvent(
        position=BEGINNING,
        stream=stream,
        version=_integer(document["version"]),
        id=UUID(_text(document["id"])),
        type=_text(document["type"]),
        schema_version=_integer(document["schema_version"]),
        recorded_at=from_epoch_us(_integer(document["recorded_at_us"])),
        payload=_bytes(document["payload"]),
        leaf=b"",
    )


def _hashes(value: object) -> tuple[bytes, ...]:
    if not isinstance(value, list):
        raise TypeError("a path is a list")
    hashes = tuple(_bytes(each) for each in value)
    if any(len(each) != HASH_BYTES for each in hashes):
        raise ValueError(f"a hash of the path has {HASH_BYTES} bytes")
    return hashes


def _bytes(value: object) -> bytes:
    content = exact_base64(_text(value))
    if content is None:
        raise ValueError("bytes are written in base64")
    return content


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    return value
