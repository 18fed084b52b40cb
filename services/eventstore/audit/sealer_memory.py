"""What a sealer remembers beside the seal: the log's own chain where it stopped, and which events it read again last.

The file is no proof, and is not signed. It spares reading the whole log again; where it is missing or does not fit,
the whole log is read.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.eventstore.audit.durable_file import DurableFolder

MEMORY_FILE: Final = "sealer"

_FORM: Final = re.compile(r"([0-9]{1,18}) ((?:[0-9a-f]{64})?) ([0-9]{1,18})\n")


@dataclass(frozen=True, slots=True)
class SealerMemory:
    """The log was found as sealed up to `size` events, where its chain was `chain` (empty for a log without one).

    The next of them to be read once more is the one with the index `reread`.
    """

    size: int = 0
    chain: bytes = b""
    reread: int = 0

    @staticmethod
    def read(folder: Path) -> "SealerMemory":
        """What the folder's file says; nothing remembered when there is none, or when it is not in its form."""
        try:
            found = _FORM.fullmatch((folder / MEMORY_FILE).read_text(encoding="ascii"))
        except (FileNotFoundError, UnicodeDecodeError):
            return SealerMemory()
        return SealerMemory(int(found[1]), bytes.fromhex(found[2]), int(found[3])) if found else SealerMemory()

    def write(self, folder: DurableFolder) -> None:
        """Remember it for the next time; raises Unavailable."""
        folder.write(MEMORY_FILE, f"{self.size} {self.chain.hex()} {self.reread}\n".encode("ascii"))
