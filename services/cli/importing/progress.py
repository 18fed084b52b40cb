"""How far an import that did not finish has come, kept on disk so that the next run goes on from there.

One file for each import, known by the file of usage (path, size and time of change), the mapping's content, the options
and the service's address. It is replaced as a whole after every acknowledged batch and removed at the end, so a
finished import starts again from the first row. Losing it is harmless: rows that are sent again are duplicates.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from services.cli.importing.row import Problem
from services.cli.importing.summary import ImportSummary, ReasonCount


@dataclass(frozen=True, slots=True)
class ImportIdentity:
    """What makes two runs the same import."""

    path: str
    size_bytes: int
    modified_ns: int
    plan_fingerprint: str
    address: str

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, in hexadecimal."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()


class ProgressFile:
    """The progress of one import."""

    def __init__(self, folder: Path, identity: ImportIdentity) -> None:
        self._path = folder / f"{identity.digest}.json"
        self._identity = identity

    def load(self) -> ImportSummary:
        """What was acknowledged before, all of it in `resumed_rows`; nothing when there is no file or it is broken."""
        try:
            stored = json.loads(self._path.read_bytes())["summary"]
            problems = tuple(Problem(**each) for each in stored.pop("problems"))
            reasons = tuple(ReasonCount(**each) for each in stored.pop("reasons"))
            summary = ImportSummary(**stored, problems=problems, reasons=reasons)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return ImportSummary()
        return replace(summary, resumed_rows=summary.read)

    def save(self, summary: ImportSummary) -> None:
        """Keep what was acknowledged, in one step: a crash leaves the old content or the new."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(f".{os.getpid()}.draft")
        draft.write_text(json.dumps({"import": asdict(self._identity), "summary": asdict(summary)}, indent=1) + "\n")
        draft.replace(self._path)

    def remove(self) -> None:
        """Forget it: the import is finished, or starts again."""
        self._path.unlink(missing_ok=True)
