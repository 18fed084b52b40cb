"""Verifies a log, proves single events of it, and checks proofs, all of it read-only."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from services.cli.addresses import read_running
from services.cli.failure import CommandFailed, misused
from services.cli.processes.environment import STORE_URL_VARIABLE, default_store_url
from services.eventstore.audit.checkpoint import SealedCheckpoint, opened_checkpoint
from services.eventstore.audit.note import NOTE_BYTES_MAX, VerifierKey
from services.eventstore.audit.proof import ConsistencyProof, EventProof, Proof
from services.eventstore.audit.proof_file import (
    CONSISTENCY_PROOF,
    EVENT_PROOF,
    PROOF_BYTES_MAX,
    parsed_proof,
)
from services.eventstore.audit.proving import find_event, parsed_number, prove_consistency, prove_event
from services.eventstore.audit.sealed_folder import SealedFolder
from services.eventstore.audit.sealed_log import SealedLog
from services.eventstore.audit.tiles import TileReader
from services.eventstore.audit.verify import WHOLE, Seal, Span, Verification, verify
from services.eventstore.open import open_store
from services.eventstore.store import EventStore
from services.kernel.clock import SystemClock

KEY_FILE_VARIABLE: Final = "METERLOG_SEAL_KEY_FILE"
KEYS_FOLDER: Final = "keys"
KEY_FILE: Final = "seal.key"
PUBLIC_SUFFIX: Final = ".pub"
SEALED_FOLDER: Final = "audit"

_PROOF_MARKS: Final = tuple(f'"format": "{name}"'.encode() for name in (EVENT_PROOF, CONSISTENCY_PROOF))
_MARK_WITHIN: Final = 200


def find_store_url(var: Path, environment: Mapping[str, str]) -> str:
    """The log that the environment or a running `meterlog up` names, else the file in the folder."""
    named = environment.get(STORE_URL_VARIABLE)
    if named:
        return named
    running = read_running(var)
    return running.store_url if running else default_store_url(var)


def find_key_file(var: Path, environment: Mapping[str, str]) -> Path:
    """The file of the private key: the one that the environment names, else that in the folder."""
    return Path(environment.get(KEY_FILE_VARIABLE) or var / KEYS_FOLDER / KEY_FILE)


def public_key_file(key_file: Path) -> Path:
    """Where the public half of a private key lies."""
    return key_file.with_name(key_file.name + PUBLIC_SUFFIX)


def find_public_keys(given: Collection[str], var: Path, environment: Mapping[str, str]) -> tuple[VerifierKey, ...]:
    """The keys that were given, each as text or as a file of keys; else those that lie beside the private key.

    Raises CommandFailed when there is none.
    """
    beside = public_key_file(find_key_file(var, environment))
    texts = given or ([str(beside)] if beside.is_file() else [])
    if not texts:
        raise misused(f"no public key: give --public-key, for there is no {beside}", "NO_PUBLIC_KEY")
    return tuple(VerifierKey.parse(line) for text in texts for line in _text_or_file(text).split())


def find_seal(
    sealed: Path | None, given_keys: Collection[str], var: Path, environment: Mapping[str, str]
) -> Seal | None:
    """The sealed folder that was named; else that of the platform, when its log was sealed; else None."""
    folder = sealed or var / SEALED_FOLDER
    if sealed is None and not given_keys and not SealedFolder(folder).is_begun():
        return None
    return Seal(folder, find_public_keys(given_keys, var, environment))


def verify_log(store_url: str, span: Span = WHOLE, seal: Seal | None = None) -> Verification:
    """Check the log; raises DomainError when it cannot be opened, or when there is nothing to check it against."""
    with _opened(store_url) as store:
        return verify(store, span, seal)


def verification_document(verification: Verification) -> dict[str, object]:
    """The outcome as a document."""
    document: dict[str, object] = {
        "verified": verification.verified,
        "events": verification.events,
        "head": verification.head,
        "sealed": verification.sealed,
    }
    if not verification.verified:
        document |= {"first_bad_position": verification.first_bad_position, "problem": verification.problem}
        document |= {"first_bad_file": verification.first_bad_file} if verification.first_bad_file else {}
    return document


def prove(store_url: str, name: str, seal: Seal) -> EventProof:
    """The proof of the event that `name` means, as `find_event` says."""
    with _opened(store_url) as store:
        sealed = SealedLog.opened(store, seal.folder, seal.keys)
        return prove_event(sealed, find_event(store, sealed, name), seal.keys)


def prove_began_as(old: str, new: str, seal: Seal) -> ConsistencyProof:
    """The proof that one log had both checkpoints, each given by its size or as a file."""
    folder = SealedFolder(seal.folder)
    older, newer = (_checkpoint(each, folder, seal.keys) for each in (old, new))
    tiles = TileReader(seal.folder, folder.required(seal.keys).size)
    return prove_consistency(tiles, older, newer, seal.keys)


def read_proof(path: Path) -> Proof | None:
    """The proof that a file holds; None when it is another kind of file. Raises Corrupt."""
    try:
        with path.open("rb") as file:
            content = file.read(PROOF_BYTES_MAX)
    except FileNotFoundError as error:
        raise misused(f"no file {path}; check the path", "FILE_NOT_FOUND") from error
    if not any(mark in content[:_MARK_WITHIN] for mark in _PROOF_MARKS):
        return None
    return parsed_proof(content.decode(errors="replace"))


def _checkpoint(given: str, folder: SealedFolder, keys: Collection[VerifierKey]) -> SealedCheckpoint:
    size = parsed_number(given)
    if size is not None:
        return folder.checkpoint_at(size, keys)
    try:
        note = Path(given).read_bytes()[:NOTE_BYTES_MAX]
    except OSError as error:
        raise misused(f"{given} is neither a size nor a file that can be read", "FILE_NOT_FOUND") from error
    return opened_checkpoint(note.decode(errors="replace"), keys)


def _text_or_file(given: str) -> str:
    path = Path(given)
    if not path.is_file():
        return given
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{path} cannot be read as a public key; check the path", reason="NO_PUBLIC_KEY") from error


@contextmanager
def _opened(store_url: str) -> Iterator[EventStore]:
    store = open_store(store_url, SystemClock(), read_only=True)
    try:
        yield store
    finally:
        store.close()
