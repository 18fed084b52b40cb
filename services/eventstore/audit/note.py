"""Signed notes (c2sp.org/signed-note): a text, and Ed25519 signatures under it that anybody with the key can check.

    <text, whose last line ends in a newline>
    <empty line>
    — <key name> <base64 of key id and signature>

The key id is the first four bytes of SHA-256(name ‖ newline ‖ 0x01 ‖ public key). Signatures by unknown keys are passed
over, so that a note may carry those of witnesses and of an older key as well.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Collection
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.kernel.errors import Corrupt, InvalidInput

NOTE_BYTES_MAX: Final = 64 * 1024
SIGNATURES_MAX: Final = 16
SEED_BYTES: Final = 32
PRIVATE_PREFIX: Final = "PRIVATE+KEY"

_ED25519: Final = b"\x01"
_KEY_ID_BYTES: Final = 4
_KEY_NAME: Final = re.compile(r"[^\s+\x00-\x1f\x7f-\x9f]{1,128}")
_KEY_ID: Final = re.compile(r"[0-9a-f]{8}")
_SIGNATURE_LINE: Final = re.compile(r"— (\S+) (\S+)")


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """Checks signatures; written as `<name>+<key id in hex>+<base64 of 0x01 and public key>`, it is public."""

    name: str
    public_key: bytes

    def __str__(self) -> str:
        return _key_text(self.name, self.id, self.public_key)

    @property
    def id(self) -> bytes:
        """Four bytes that tell keys of one name apart."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public_key).digest()[:_KEY_ID_BYTES]

    @staticmethod
    def parse(text: str) -> "VerifierKey":
        """The key that `text` writes; raises InvalidInput."""
        problem = 'is no public key; it reads "<name>+<8 hex digits>+<base64>", as `meterlog audit keygen` printed it'
        if text.startswith(PRIVATE_PREFIX):
            raise InvalidInput("this is a private key; give the public one, and keep this to yourself", field="key")
        parts = text.strip().split("+", 2)
        if len(parts) != 3 or not is_key_name(parts[0]) or not _KEY_ID.fullmatch(parts[1]):
            raise InvalidInput(f'"{text[:200]}" {problem}', field="key")
        key = VerifierKey(parts[0], _key_bytes(parts[2], f'"{text[:200]}" {problem}'))
        if key.id.hex() != parts[1]:
            raise InvalidInput(f'"{text[:200]}" does not have the key id that it says; copy it again', field="key")
        return key

    def has_signed(self, text: str, signature: bytes) -> bool:
        """Whether this key made the signature over the text."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class SignerKey:
    """Makes signatures. Its 32 secret bytes appear in no representation."""

    name: str
    seed: bytes = field(repr=False)

    @property
    def verifier(self) -> VerifierKey:
        """The public half."""
        public = Ed25519PrivateKey.from_private_bytes(self.seed).public_key()
        return VerifierKey(self.name, public.public_bytes_raw())

    def sign(self, text: str) -> bytes:
        """The signature over the text; the same text gives the same signature."""
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(text.encode())

    def secret_text(self) -> str:
        """The key as its file holds it: `PRIVATE+KEY+<name>+<key id in hex>+<base64 of 0x01 and seed>`."""
        return f"{PRIVATE_PREFIX}+{_key_text(self.name, self.verifier.id, self.seed)}"

    @staticmethod
    def parse(text: str) -> "SignerKey":
        """The key that `secret_text` wrote; raises InvalidInput, which tells nothing of the text."""
        problem = "this is no private key as `meterlog audit keygen` writes it; check the file"
        parts = text.strip().removeprefix(f"{PRIVATE_PREFIX}+").split("+", 2)
        if not text.startswith(PRIVATE_PREFIX) or len(parts) != 3 or not is_key_name(parts[0]):
            raise InvalidInput(problem, field="key")
        key = SignerKey(parts[0], _key_bytes(parts[2], problem))
        if key.verifier.id.hex() != parts[1]:
            raise InvalidInput(problem, field="key")
        return key


def is_key_name(name: str) -> bool:
    """Whether a key may be called that: 1 to 128 characters without spaces, control characters and "+"."""
    return _KEY_NAME.fullmatch(name) is not None


def signed_note(text: str, key: SignerKey) -> str:
    """The note of a text, whose last line must end in a newline."""
    assert text.endswith("\n"), "the last line of a note's text ends in a newline"
    signature = b64encode(key.verifier.id + key.sign(text)).decode()
    return f"{text}\n— {key.name} {signature}\n"


def opened_note(note: str, keys: Collection[VerifierKey]) -> str:
    """The text of a note that one of the keys signed.

    Raises Corrupt when the form is wrong, when none of the keys has signed it, or when what stands there as the
    signature of one of them is none.
    """
    text, signatures = _parted(note)
    known = {(key.name, key.id): key for key in keys}
    is_signed = False
    for name, content in signatures:
        key = known.get((name, content[:_KEY_ID_BYTES]))
        if key is None:
            continue
        if not key.has_signed(text, content[_KEY_ID_BYTES:]):
            raise _broken(f"the signature of {name} is not over this text: text or signature was changed")
        is_signed = True
    if not is_signed:
        signers = ", ".join(sorted({name for name, _ in signatures}))
        wanted = " or ".join(sorted(str(key) for key in keys)) or "no key at all"
        raise _broken(f"it is signed by {signers}, with a key that is not {wanted}")
    return text


def exact_base64(text: str) -> bytes | None:
    """The bytes that `text` writes in the one way that base64 has for them; None for any other text."""
    try:
        content = b64decode(text.encode("ascii"), validate=True)
    except (Base64Error, UnicodeEncodeError):
        return None
    return content if b64encode(content).decode() == text else None


def _parted(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    if len(note.encode(errors="replace")) > NOTE_BYTES_MAX:
        raise _broken(f"it is longer than {NOTE_BYTES_MAX} bytes")
    if any((character < " " and character != "\n") or "\ud800" <= character <= "\udfff" for character in note):
        raise _broken("it holds control characters, or what is no text")
    text, separator, lines = note.rpartition("\n\n")
    if not separator or not lines.endswith("\n"):
        raise _broken("it has no signatures behind an empty line")
    signatures = [_signature(line) for line in lines[:-1].split("\n")]
    if len(signatures) > SIGNATURES_MAX:
        raise _broken(f"it has more than {SIGNATURES_MAX} signatures")
    return f"{text}\n", signatures


def _signature(line: str) -> tuple[str, bytes]:
    parts = _SIGNATURE_LINE.fullmatch(line)
    content = exact_base64(parts[2]) if parts else None
    if parts is None or content is None or len(content) <= _KEY_ID_BYTES or not is_key_name(parts[1]):
        raise _broken(f'"{line[:100]}" is no signature line')
    return parts[1], content


def _key_text(name: str, key_id: bytes, key: bytes) -> str:
    return f"{name}+{key_id.hex()}+{b64encode(_ED25519 + key).decode()}"


def _key_bytes(text: str, problem: str) -> bytes:
    content = exact_base64(text)
    if content is None or len(content) != 1 + SEED_BYTES or content[:1] != _ED25519:
        raise InvalidInput(problem, field="key")
    return content[1:]


def _broken(what: str) -> Corrupt:
    return Corrupt(f"the note cannot be trusted: {what}", reason="NOTE_NOT_TRUSTED")
