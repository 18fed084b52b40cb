"""Secrets of endpoints, and the signature that their messages carry: Standard Webhooks 1.0.0, version v1.

A secret is derived from the master key, the endpoint's key and a salt (HKDF with SHA-256, RFC 5869), and never stored.
What is stored is its seal: the salt, and a fingerprint that tells a wrong master key and reveals nothing.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass, field

SECRET_PREFIX = "whsec_"  # noqa: S105 (the public prefix of every secret, none itself)
SALT_BYTES = 16
FINGERPRINT_BYTES = 8

_PURPOSE = b"meterlog webhook secret 1 "


@dataclass(frozen=True, slots=True)
class Secret:
    """The 32 bytes that sign the messages of one endpoint; kept out of `repr`, and so out of logs."""

    key: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The form that a receiver gets, "whsec_…"."""
        return SECRET_PREFIX + base64.b64encode(self.key).decode()

    @property
    def fingerprint(self) -> bytes:
        """First bytes of the SHA-256 of the secret."""
        return hashlib.sha256(self.key).digest()[:FINGERPRINT_BYTES]


@dataclass(frozen=True, slots=True)
class Seal:
    """What the log holds of a secret."""

    salt: bytes
    fingerprint: bytes


def derive_secret(master_key: bytes, endpoint: str, salt: bytes) -> Secret:
    """The secret of an endpoint; the same arguments give it again."""
    return Secret(hkdf_sha256(master_key, salt, _PURPOSE + endpoint.encode()))


def hkdf_sha256(key: bytes, salt: bytes, purpose: bytes) -> bytes:
    """The first 32 bytes of HKDF-SHA256 (RFC 5869): extract, then one block of expand."""
    extracted = hmac.digest(salt, key, "sha256")
    return hmac.digest(extracted, purpose + b"\x01", "sha256")


def signature(secret: Secret, message_id: str, timestamp_s: int, body: bytes) -> str:
    """HMAC-SHA256 over `{id}.{timestamp}.{body}`, as "v1,<base64>"; the id holds no "."."""
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp_s, body)
    return "v1," + base64.b64encode(hmac.digest(secret.key, signed, "sha256")).decode()


def signed_headers(secret: Secret, message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The three headers by which a receiver verifies an attempt; `timestamp_s` is that of the attempt, Unix seconds."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": signature(secret, message_id, timestamp_s, body),
    }
