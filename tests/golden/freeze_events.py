"""Freezes the bytes of stored events that are not frozen yet; run as a program from the root of the repository:

    PYTHONPATH=.:proto/gen python tests/golden/freeze_events.py

For each (type, version) of the catalogue write events/<Type>.v<version>.txt by hand first, the message in protobuf's
text format, with every field set. This writes events/<Type>.v<version>.bin beside it. It never writes over a frozen
file: bytes that were released once are in somebody's log for ever.

When a form is given up, its .bin stays and its .txt is rewritten by hand: what the old bytes mean today, one block for
each message that its upcasters make of it, under a line such as "# MeterCreated 2".
"""

import re
from collections.abc import Mapping
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.message import Message

from services.eventstore.catalogue import MESSAGES

EVENTS = Path(__file__).with_name("events")


def text_path(name: str, version: int) -> Path:
    return EVENTS / f"{name}.v{version}.txt"


def bytes_path(name: str, version: int) -> Path:
    return EVENTS / f"{name}.v{version}.bin"


def written_message(name: str, version: int) -> Message:
    """The message as its text says."""
    text = text_path(name, version).read_text()
    return text_format.Parse(text, MESSAGES[name, version]())


def meaning_of_old(text: str, messages: Mapping[tuple[str, int], type[Message]]) -> list[Message]:
    """The messages that the text about an old form says it means, in order."""
    found = []
    for block in re.split(r"^# ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = block.partition("\n")
        name, version = heading.split()
        found.append(text_format.Parse(body, messages[name, int(version)]()))
    return found


def main() -> None:
    for name, version in MESSAGES:
        frozen = bytes_path(name, version)
        if not frozen.exists():
            frozen.write_bytes(written_message(name, version).SerializeToString(deterministic=True))
            print(f"froze {frozen.name}")


if __name__ == "__main__":
    main()
