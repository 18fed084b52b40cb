"""Keys, folds and indexes made by hand, for the tests of the dedupe index."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from services.eventstore.event import Position
from services.ingest.dedupe_index import DedupeIndex, Fold
from services.ingest.digests import KEY, Digests, Keys
from services.ingest.index_limits import IndexLimits
from services.ingest.index_manifest import Checkpoint
from tests.ingest_room import BOOT_ID, LIMITS, SECRET

LARGE = replace(LIMITS, spill_keys=1_000)
"""Runs of a thousand keys."""

Entry = tuple[int, int]
"""Content and position."""


def opened(folder: Path, boot_id: str = BOOT_ID, limits: IndexLimits = LIMITS, secret: bytes = SECRET) -> DedupeIndex:
    """The index in a folder."""
    return DedupeIndex(folder, boot_id, Digests(secret), limits)


def keys_of(numbers: Sequence[int]) -> Keys:
    """The keys of these numbers: 0, 1 and 2 share their upper half, then 3, 4 and 5, and so on."""
    keys = np.empty(len(numbers), KEY)
    whole = np.array(numbers, np.uint64)
    keys["hi"] = (whole // np.uint64(3)) * np.uint64(0x9E3779B97F4A7C15)
    keys["lo"] = whole * np.uint64(0xD1B54A32D192ED03)
    return keys


def fold_of(version: int, numbers: Sequence[int], content: int = 7) -> Fold:
    """What an event adds that stands at the position behind its version; all of its keys say `content`."""
    checkpoint = Checkpoint(version, Position(version + 1), version.to_bytes(16, "big"))
    return Fold(checkpoint, keys_of(numbers), np.full(len(numbers), content, np.uint64))


def found(index: DedupeIndex, numbers: Sequence[int]) -> Mapping[int, Entry]:
    """The entries of those keys that are known."""
    known = index.lookup(keys_of(numbers))
    rows = zip(numbers, known.is_known.tolist(), known.contents.tolist(), known.positions.tolist(), strict=True)
    assert all(is_known or (content, position) == (0, 0) for _, is_known, content, position in rows)
    rows = zip(numbers, known.is_known.tolist(), known.contents.tolist(), known.positions.tolist(), strict=True)
    return {number: (content, position) for number, is_known, content, position in rows if is_known}
