"""Verifies the audit chain of a log, read-only, also while the services write to it."""

from collections.abc import Mapping
from pathlib import Path

from services.cli.addresses import read_running
from services.cli.failure import CommandFailed
from services.cli.processes.environment import STORE_URL_VARIABLE, default_store_url
from services.eventstore.audit.auditable import AuditableStore
from services.eventstore.audit.verify import Verification, verify
from services.eventstore.open import open_store
from services.kernel.clock import SystemClock


def find_store_url(var: Path, environment: Mapping[str, str]) -> str:
    """The log that the environment or a running `meterlog up` names, else the file in the folder."""
    named = environment.get(STORE_URL_VARIABLE)
    if named:
        return named
    running = read_running(var)
    return running.store_url if running else default_store_url(var)


def verify_log(store_url: str) -> Verification:
    """Check the whole log; raises DomainError when it cannot be opened, CommandFailed when it has no audit chain."""
    store = open_store(store_url, SystemClock(), read_only=True)
    try:
        if not isinstance(store, AuditableStore):
            raise CommandFailed(f"the log {store_url} has no audit chain of its own", reason="NO_AUDIT_CHAIN")
        return verify(store)
    finally:
        store.close()


def verification_document(verification: Verification) -> dict[str, object]:
    """The outcome as a document."""
    document: dict[str, object] = {
        "verified": verification.verified,
        "events": verification.events,
        "head": verification.head,
    }
    if not verification.verified:
        document |= {"first_bad_position": verification.first_bad_position, "problem": verification.problem}
    return document
