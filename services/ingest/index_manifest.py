"""The manifest of the dedupe index: which runs it consists of, and up to where each stream is folded into them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from services.eventstore.event import Position
from services.ingest.index_entries import IndexBroken, IndexUnwritten

FORMAT = 2
"""Changes with the digests or the layout; an index of another format is built anew."""

NAME = "manifest"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Up to where a stream is folded: the version, position and id of the last event."""

    version: int
    position: Position
    event_id: bytes


@dataclass(frozen=True, slots=True)
class Manifest:
    """`boot_id` names the run of the machine that wrote it; `runs` are numbers of run files, the oldest first."""

    boot_id: str
    is_closed: bool
    digests: str
    runs: Sequence[int]
    checkpoints: Mapping[int, Checkpoint]

    def encoded(self) -> bytes:
        """A line with the CRC-32 of the rest, then JSON."""
        checkpoints = {
            str(partition): [known.version, known.position, known.event_id.hex()]
            for partition, known in self.checkpoints.items()
        }
        fields = {"format": FORMAT, **asdict(self), "runs": list(self.runs), "checkpoints": checkpoints}
        content = json.dumps(fields, indent=1).encode()
        return b"%08x\n%b" % (crc32(content), content)


def decoded_manifest(content: bytes) -> Manifest:
    """Raises IndexBroken when the bytes are no manifest of this format."""
    checksum, _, body = content.partition(b"\n")
    if checksum != b"%08x" % crc32(body):
        raise IndexBroken("the manifest of the dedupe index is damaged; it is built anew from the log")
    fields = json.loads(body)
    if fields["format"] != FORMAT:
        raise IndexBroken("the dedupe index has another format; it is built anew from the log")
    return Manifest(
        boot_id=fields["boot_id"],
        is_closed=fields["is_closed"],
        digests=fields["digests"],
        runs=tuple(fields["runs"]),
        checkpoints={int(partition): _checkpoint(*known) for partition, known in fields["checkpoints"].items()},
    )


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in a folder; None when there is none. Raises IndexBroken when it cannot be read."""
    try:
        return decoded_manifest((folder / NAME).read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IndexBroken(f"the manifest of the dedupe index cannot be read ({error.strerror})") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest at once: whoever is killed meanwhile finds the former or this one."""
    draft = folder / f"{NAME}.new"
    try:
        draft.write_bytes(manifest.encoded())
        draft.replace(folder / NAME)
    except OSError as error:
        raise IndexUnwritten(f"the manifest of the dedupe index cannot be written ({error.strerror})") from error


def _checkpoint(version: int, position: int, event_id: Any) -> Checkpoint:
    return Checkpoint(version, Position(position), bytes.fromhex(event_id))
