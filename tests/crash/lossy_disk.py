"""A disk that loses power: what was synced is there, of what was not any part may be, torn at its sectors. Pure."""

import random
from dataclasses import dataclass, field

from tests.crash.disk_trace import DiskCall

SECTOR_BYTES = 512


@dataclass(slots=True)
class LossyFile:
    """A file as the disk surely has it, and what was done to it since its last sync."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[DiskCall] = field(default_factory=list)
    is_there: bool = False


class LossyDisk:
    """Takes calls as a process makes them, and tells what a power cut may leave."""

    def __init__(self) -> None:
        self._files: dict[str, LossyFile] = {}

    def take(self, call: DiskCall) -> None:
        """One more call."""
        file = self._files.setdefault(call.path, LossyFile())
        if call.is_sync:
            self._settle(file)
        else:
            file.pending.append(call)

    def after_cut(self, chance: random.Random) -> dict[str, bytes]:
        """The files that are found after a cut right now, one of the many ways that it can go."""
        return {path: bytes(left) for path, file in self._files.items() if (left := _left(file, chance)) is not None}

    @staticmethod
    def _settle(file: LossyFile) -> None:
        for call in file.pending:
            file.is_there = _apply(file.durable, call)
        file.pending.clear()


def _left(file: LossyFile, chance: random.Random) -> bytearray | None:
    """Each call since the last sync is kept, lost, or kept in part; those that are kept keep their order."""
    content, is_there = bytearray(file.durable), file.is_there
    kept_share = chance.choice((0.0, 0.5, 0.9, 1.0))
    for call in file.pending:
        if chance.random() < kept_share:
            is_there = _apply(content, _torn(call, chance))
    return content if is_there else None


def _torn(call: DiskCall, chance: random.Random) -> DiskCall:
    """Now and then only the first sectors of a write arrive."""
    sectors = len(call.content) // SECTOR_BYTES
    if call.name != "pwrite64" or sectors < 2 or chance.random() < 0.7:
        return call
    return DiskCall(call.name, call.path, call.content[: chance.randrange(1, sectors) * SECTOR_BYTES], call.offset)


def _apply(content: bytearray, call: DiskCall) -> bool:
    """Change the content; whether the file is there afterwards."""
    match call.name:
        case "unlink":
            content.clear()
            return False
        case "ftruncate":
            del content[call.offset :]
            content.extend(bytes(call.offset - len(content)))
        case _:
            content.extend(bytes(max(0, call.offset + len(call.content) - len(content))))
            content[call.offset : call.offset + len(call.content)] = call.content
    return True
