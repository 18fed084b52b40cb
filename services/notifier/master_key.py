"""Where the master key comes from: the environment, or a file that the first start creates."""

import base64
import binascii
import os
from pathlib import Path

import structlog

from services.kernel.errors import InvalidInput, Unavailable

MASTER_KEY_SETTING = "METERLOG_WEBHOOK_MASTER_KEY"
KEYS_FOLDER = "keys"
"""Apart from the services' own folders, which hold nothing that cannot be rebuilt from the log."""

MASTER_KEY_FILE = "webhook-master.key"
MASTER_KEY_BYTES_MIN = 32

log = structlog.get_logger()


def load_master_key(configured: str, folder: Path) -> bytes:
    """The configured key (base64), else that of the file, created with mode 0600 when there is none.

    Raises InvalidInput, which never shows the key, and Unavailable when the file cannot be used.
    """
    if configured:
        return _decoded(configured, MASTER_KEY_SETTING)
    path = folder / MASTER_KEY_FILE
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _create(path)
        _warn_when_readable_by_others(path)
        return _decoded(path.read_bytes().strip(), str(path))
    except OSError as error:
        raise Unavailable(f"{path} cannot be used: {error.strerror}; check folder and permissions") from error


def _decoded(text: str | bytes, source: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < MASTER_KEY_BYTES_MIN:
        raise InvalidInput(
            f"{source} is not the base64 of {MASTER_KEY_BYTES_MIN} bytes or more; "
            "make one with: head -c 32 /dev/urandom | base64",
            field=MASTER_KEY_SETTING,
            reason="BAD_SETTING",
        )
    return key


def _create(path: Path) -> None:
    """Write a random key beside the path, then link it into place: whole or not at all, and never over another."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(os.urandom(MASTER_KEY_BYTES_MIN)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        path.hardlink_to(draft)
        log.info("webhook master key created; keep a copy: without it no endpoint can be signed for", path=str(path))
    except FileExistsError:
        log.info("webhook master key was created by another process", path=str(path))
    finally:
        draft.unlink()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _warn_when_readable_by_others(path: Path) -> None:
    if path.stat().st_mode & 0o077:
        log.warning("the webhook master key can be read by others; chmod 600 it", path=str(path))
