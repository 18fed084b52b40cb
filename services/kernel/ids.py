"""Names and identifiers: what a key may look like, and ids that are the same again for the same fact."""

import hashlib
import os
import re
from datetime import datetime
from uuid import UUID

from services.kernel.clock import epoch_us
from services.kernel.errors import InvalidInput

SLUG_RULE = 'lower-case letters, digits and "_", first a letter, at most 64'
KEY_RULE = 'lower-case letters, digits, "_" and "-", first a letter or digit, at most 64'
IDENTIFIER_RULE = "1 to 256 characters without control characters"
PROPERTY_KEY_RULE = 'letters, digits, "_", "." and "-", first a letter or "_", at most 64'

_SLUG = re.compile(r"[a-z][a-z0-9_]{0,63}")
_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_IDENTIFIER = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,256}")
_PROPERTY_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_VERSION_7 = 0x7 << 76
_VERSION_8 = 0x8 << 76
_VARIANT = 0x2 << 62


def require_slug(text: str, field: str) -> str:
    """`text`, when it is a slug (SLUG_RULE); raises InvalidInput."""
    return _require(_SLUG, text, field, SLUG_RULE)


def require_key(text: str, field: str) -> str:
    """`text`, when it is a key (KEY_RULE); raises InvalidInput."""
    return _require(_KEY, text, field, KEY_RULE)


def require_identifier(text: str, field: str) -> str:
    """`text`, when it is an identifier from outside (IDENTIFIER_RULE); raises InvalidInput."""
    return _require(_IDENTIFIER, text, field, IDENTIFIER_RULE)


def require_property_key(text: str, field: str) -> str:
    """`text`, when a usage event may have a property of that name (PROPERTY_KEY_RULE); raises InvalidInput."""
    return _require(_PROPERTY_KEY, text, field, PROPERTY_KEY_RULE)


def is_property_key(text: str) -> bool:
    """Whether a usage event may have a property of that name (PROPERTY_KEY_RULE)."""
    return _PROPERTY_KEY.fullmatch(text) is not None


def is_identifier(text: str) -> bool:
    """Whether `text` is an identifier from outside (IDENTIFIER_RULE)."""
    return _IDENTIFIER.fullmatch(text) is not None


def new_uuid(at: datetime) -> UUID:
    """A fresh UUIDv7 (RFC 9562, section 5.7): time-ordered, 74 random bits."""
    return _uuid(at, _VERSION_7, os.urandom(10))


def derived_uuid(at: datetime, *parts: str | bytes) -> UUID:
    """The UUIDv8 (RFC 9562, section 5.8) of a fact: `at` in milliseconds, then a hash of the parts.

    The same instant and parts give the same id again, and ids of later instants sort later.
    """
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)
    return _uuid(at, _VERSION_8, digest.digest()[:10])


def _uuid(at: datetime, version: int, tail: bytes) -> UUID:
    milliseconds = (epoch_us(at) // 1000) & 0xFFFF_FFFF_FFFF
    bits = int.from_bytes(tail, "big")
    high = (bits >> 62) & 0xFFF
    low = bits & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=milliseconds << 80 | version | high << 64 | _VARIANT | low)


def _require(pattern: re.Pattern[str], text: str, field: str, rule: str) -> str:
    if pattern.fullmatch(text) is None:
        shown = text if len(text) <= 60 else text[:60] + "…"
        raise InvalidInput(f"{field} is {shown!r}; use {rule}", field=field, reason="BAD_IDENTIFIER")
    return text
