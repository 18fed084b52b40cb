"""Seals a log once, or again and again while it grows."""

import threading
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

from services.cli.auditing import SEALED_FOLDER, find_key_file, public_key_file
from services.cli.processes.log_line import PLATFORM, LogLine
from services.eventstore.audit.checkpoint import SealedCheckpoint
from services.eventstore.audit.note import SignerKey, VerifierKey
from services.eventstore.audit.seal_key import create_seal_key, read_seal_key
from services.eventstore.audit.sealer import Sealer
from services.eventstore.open import open_store
from services.kernel.clock import SystemClock
from services.kernel.errors import AlreadyExists, Conflict, DomainError, Overloaded, TimedOut, Unavailable

KEY_NAME: Final = "meterlog"
SEAL_EVERY_S: Final = 60.0
STOP_TIMEOUT_S: Final = 20.0

Say = Callable[[str, str], None]
"""Takes a level and a text."""

_PASSING: Final = (Unavailable, TimedOut, Overloaded, Conflict)
"""What may be gone at the next attempt; anything else is the alarm."""


def make_key(path: Path, name: str) -> VerifierKey:
    """Create a private key, and beside it the file of its public half; the public half."""
    public = create_seal_key(path, name)
    public_key_file(path).write_text(f"{public}\n", encoding="utf-8")
    return public


def seal_once(
    store_url: str, folder: Path, key: SignerKey, older_keys: Collection[VerifierKey] = ()
) -> SealedCheckpoint | None:
    """Seal the log up to its head; None when it has no events. Raises as `Sealer.seal` does."""
    store = open_store(store_url, SystemClock(), read_only=True)
    try:
        return Sealer(store, folder, key, older_keys).seal()
    finally:
        store.close()


def keep_sealing(
    seal: Callable[[], SealedCheckpoint | None], every: timedelta, stop: threading.Event, say: Say
) -> None:
    """Call `seal` at once and after each pause, until `stop` is set.

    What may pass is said and tried again. Raises the DomainError that says that the log is not what was sealed.
    """
    newest = 0
    while not stop.is_set():
        try:
            checkpoint = seal()
        except _PASSING as error:
            say("warning", f"not sealed: {error.message}")
        else:
            if checkpoint is not None and checkpoint.size > newest:
                newest = checkpoint.size
                say("info", f"sealed {newest} events, root {checkpoint.root.hex()}")
        stop.wait(every.total_seconds())


class SealingThread:
    """Seals the log of a platform while it runs, into the folder `audit` of its folder.

    Unless the environment names a file with a key, one is created in the folder `keys` at the first start. When the
    log is not what was sealed it says so, gravely, and seals nothing more; the services go on.
    """

    def __init__(
        self, store_url: str, var: Path, environment: Mapping[str, str], say: Callable[[LogLine], None]
    ) -> None:
        self._store_url = store_url
        self._var = var
        self._environment = environment
        self._say_line = say
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sealing", daemon=True)

    def start(self) -> None:
        """Begin; returns at once. The log must be there."""
        self._thread.start()

    def stop(self) -> None:
        """Seal nothing more; waits for the seal under way, STOP_TIMEOUT_S at most. Safe to repeat."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        try:
            key = self._key()
            keep_sealing(
                lambda: seal_once(self._store_url, self._var / SEALED_FOLDER, key),
                timedelta(seconds=SEAL_EVERY_S),
                self._stop,
                self._say,
            )
        except (DomainError, OSError) as error:
            self._say("critical", f"the log is not sealed any more: {error}")

    def _key(self) -> SignerKey:
        path = find_key_file(self._var, self._environment)
        if not path.exists() and path == find_key_file(self._var, {}):
            try:
                public = make_key(path, KEY_NAME)
                self._say("info", f"seal key created; give its public half to those who will verify: {public}")
            except AlreadyExists:
                self._say("debug", "the seal key was created by another process")
        return read_seal_key(path)

    def _say(self, level: str, text: str) -> None:
        self._say_line(LogLine(PLATFORM, text, level))
