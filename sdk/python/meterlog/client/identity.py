"""Names that nobody else has: an id for each usage event, a source for each process."""

import os
import socket
import uuid

from meterlog.client.clock import now_ms

_VERSION_7 = 0x7 << 76
_VARIANT = 0x2 << 62
_HOST_CHARACTERS_MAX = 200


def new_id() -> str:
    """A fresh UUIDv7 (RFC 9562, section 5.7): sorts by the millisecond it was made in, then 74 random bits."""
    random = int.from_bytes(os.urandom(10), "big")
    high, low = (random >> 62) & 0xFFF, random & 0x3FFF_FFFF_FFFF_FFFF
    return str(uuid.UUID(int=(now_ms() & 0xFFFF_FFFF_FFFF) << 80 | _VERSION_7 | high << 64 | _VARIANT | low))


def process_source() -> str:
    """A source for this process alone, `host-process-random`, so that no two processes share one.

    It is another one after a restart: a producer that repeats usage events over restarts chooses its own source.
    """
    return f"{socket.gethostname()[:_HOST_CHARACTERS_MAX]}-{os.getpid()}-{os.urandom(4).hex()}"
