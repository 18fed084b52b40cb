"""The private key of a sealer as a file that only its owner may read."""

import os
from pathlib import Path

from services.eventstore.audit.note import SEED_BYTES, SignerKey, VerifierKey, is_key_name
from services.kernel.errors import AlreadyExists, InvalidInput, NotFound, Unavailable

KEY_FILE_BYTES_MAX = 4_096


def create_seal_key(path: Path, name: str) -> VerifierKey:
    """Write a new private key with mode 0600, whole or not at all and never over another; the public half of it.

    Raises InvalidInput for a name that no key can have, AlreadyExists, and Unavailable.
    """
    if not is_key_name(name):
        raise InvalidInput(
            f'"{name[:60]}" is no name for a key; use 1 to 128 characters without spaces and "+"', field="name"
        )
    key = SignerKey(name, os.urandom(SEED_BYTES))
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_private(draft, key.secret_text())
        try:
            path.hardlink_to(draft)
        finally:
            draft.unlink()
    except FileExistsError as error:
        raise AlreadyExists(f"{path} exists; a key is never overwritten, choose another file") from error
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror}; check folder and permissions") from error
    return key.verifier


def read_seal_key(path: Path) -> SignerKey:
    """The private key of a file; raises NotFound, Unavailable, and InvalidInput, which never shows the key.

    A file that everybody on the machine may write or read is refused.
    """
    try:
        with path.open(encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(KEY_FILE_BYTES_MAX)
    except FileNotFoundError as error:
        raise NotFound(f"no key at {path}; make one with `meterlog audit keygen`") from error
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} holds no key; check the path", field="key") from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}; check its permissions") from error
    if mode & 0o007:
        raise InvalidInput(f"{path} may be read or written by everybody; chmod 600 it", field="key")
    try:
        return SignerKey.parse(text)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error.message}", field="key") from None


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
