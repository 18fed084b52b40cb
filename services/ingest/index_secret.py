"""The random bytes that the digests of one index are keyed by, beside what is known of its log."""

import os
from pathlib import Path
from typing import Final

from services.kernel.errors import Unavailable

NAME: Final = "secret"
SECRET_BYTES: Final = 32


def index_secret(folder: Path) -> bytes:
    """The secret in the folder of the index; drawn, and brought to the disk, where there is none.

    It is no part of the log, so whoever reads an exported log or a proof learns nothing of it. Each replica has its
    own; an index that was made with another secret, as after this file was lost, is built anew. Raises Unavailable.
    """
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        secret = _kept(path)
        return _drawn(path) if secret is None else secret
    except OSError as error:
        raise Unavailable(f"{path} cannot be used ({error.strerror}); check METERLOG_VAR") from error


def _kept(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return content if len(content) == SECRET_BYTES else None


def _drawn(path: Path) -> bytes:
    secret = os.urandom(SECRET_BYTES)
    draft = path.with_name(f"{NAME}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, secret)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.replace(path)
    return secret
