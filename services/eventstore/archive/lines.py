"""The lines of an archive, as values and as bytes. Pure.

An archive is UTF-8 text, one JSON object a line:

    header                 where it begins: what lies before it, if anything
    event, event, …        in the order of the log
    commit                 behind the events that it covers; only from logs that have commits
    seal                   at most one: a signed checkpoint, and what leads from the archive's end to it
    end                    how many events there were, and the root over all of them

Every value has exactly one spelling: keys in the order that stands here, no spaces, integers in decimal digits, hashes
in lower-case hex, payloads in padded base64, in texts only `"`, `\\` and control characters escaped. A reader spells
what it read again, and refuses a line that comes out otherwise.

The last key of a line, `link`, is the first 16 hex digits of SHA-256 over the link of the line before (before the
first: 16 zeros) and the bytes of this line in front of `,"link"`. So whatever happens to a byte, that very line shows
it. Links find damage; proof is in leaves, roots and the signature.
"""

import json
from base64 import b64encode
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

from services.eventstore.audit.chain import Commit
from services.eventstore.event import Position, RecordedEvent, StreamName
from services.kernel.clock import epoch_us

FORMAT: Final = "meterlog-archive"
FORMAT_VERSION: Final = 1
LINE_BYTES_MAX: Final = 2 * 1024 * 1024
LINK_START: Final = "0" * 16


@dataclass(frozen=True, slots=True)
class Header:
    """Where an archive begins: behind `after`, with `first_ordinal` events before it.

    `left` is the edge of the Merkle tree of those events, `chain` the audit chain behind them, empty without commits.
    """

    has_commits: bool
    after: Position
    first_ordinal: int
    left: tuple[bytes, ...]
    chain: bytes


@dataclass(frozen=True, slots=True)
class ArchivedEvent:
    """An event, and how many events of the log come before it."""

    ordinal: int
    event: RecordedEvent


@dataclass(frozen=True, slots=True)
class Seal:
    """A signed checkpoint of this log, of `right` further events or none: the subtrees that lead from the end to it."""

    note: str
    right: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class End:
    """What was in the archive; `size` and `root` are those of the tree from the log's first event on."""

    events: int
    commits: int
    position: Position
    chain: bytes
    size: int
    root: bytes


Line = Header | ArchivedEvent | Commit | Seal | End


def spelled(line: Line, previous_link: str) -> tuple[bytes, str]:
    """The bytes of a line, its newline included, and its link."""
    text = _event_text(line) if isinstance(line, ArchivedEvent) else _text(_document(line))
    link = sha256(f"{previous_link}{text}".encode()).hexdigest()[:16]
    return f'{text},"link":"{link}"}}\n'.encode(), link


def _event_text(line: ArchivedEvent) -> str:
    event = line.event
    return (
        f'{{"kind":"event","ordinal":{line.ordinal},"position":{event.position},"stream":{_stream_text(event.stream)},'
        f'"version":{event.version},"id":"{event.id}","type":{_quoted(event.type)},'
        f'"schema_version":{event.schema_version},"recorded_at_us":{_microseconds(event.recorded_at)},'
        f'"payload":"{b64encode(event.payload).decode()}","leaf":"{event.leaf.hex()}"'
    )


def _text(document: dict[str, object]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))[:-1]


def _document(line: Header | Commit | Seal | End) -> dict[str, object]:
    match line:
        case Header():
            return {
                "kind": "header",
                "format": FORMAT,
                "version": FORMAT_VERSION,
                "has_commits": line.has_commits,
                "after": line.after,
                "first_ordinal": line.first_ordinal,
                "left": [node.hex() for node in line.left],
                "chain": line.chain.hex(),
            }
        case Commit():
            return {
                "kind": "commit",
                "first_position": line.first_position,
                "last_position": line.last_position,
                "root": line.root.hex(),
                "chain": line.chain.hex(),
            }
        case Seal():
            return {"kind": "seal", "note": line.note, "right": [node.hex() for node in line.right]}
        case End():
            return {
                "kind": "end",
                "events": line.events,
                "commits": line.commits,
                "position": line.position,
                "chain": line.chain.hex(),
                "size": line.size,
                "root": line.root.hex(),
            }


@lru_cache(maxsize=4096)
def _stream_text(stream: StreamName) -> str:
    return json.dumps(str(stream), ensure_ascii=False)


@lru_cache(maxsize=1024)
def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


_microseconds = lru_cache(maxsize=1024)(epoch_us)
