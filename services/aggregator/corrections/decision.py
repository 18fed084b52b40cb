"""Who decides about usage, when and why; and the keys that corrections and backfills go by. Pure."""

import re
from dataclasses import dataclass
from datetime import datetime

from meterlog.events.v1.correction_pb2 import Decision as StoredDecision
from services.kernel.errors import InvalidInput
from services.kernel.timestamp import to_timestamp

CORRECTION_KEY_MAX = 128
BACKFILL_KEY_MAX = 64
REASON_MAX = 1_024
DECIDED_BY_MAX = 256

_KEY = re.compile(r"[A-Za-z0-9_.-]+")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Decision:
    """`decided_by` as they call themselves (empty when they do not say), `key_name` of the API key they came with."""

    reason: str
    decided_by: str
    key_name: str
    at: datetime

    def stored(self) -> StoredDecision:
        """As events hold it."""
        return StoredDecision(
            reason=self.reason, decided_by=self.decided_by, key_name=self.key_name, decided_at=to_timestamp(self.at)
        )


def require_decision(decision: Decision) -> Decision:
    """`decision`, when it says why; raises InvalidInput."""
    if not decision.reason.strip():
        raise InvalidInput("reason is empty; say why, for those who read it later", field="reason", reason="NO_REASON")
    _require_text(decision.reason, "reason", REASON_MAX)
    _require_text(decision.decided_by, "decided_by", DECIDED_BY_MAX)
    return decision


def require_correction_key(text: str, field: str, longest: int = CORRECTION_KEY_MAX) -> str:
    """`text`, when it can be the key of a correction, or with BACKFILL_KEY_MAX of a backfill; raises InvalidInput."""
    if len(text) > longest or _KEY.fullmatch(text) is None:
        raise InvalidInput(
            f'{field} is {text[:60]!r}; use 1 to {longest} letters, digits, "_", "." and "-"',
            field=field,
            reason="BAD_KEY",
        )
    return text


def _require_text(text: str, field: str, longest: int) -> None:
    if len(text) > longest or _CONTROL_CHARACTER.search(text):
        raise InvalidInput(
            f"{field} has {len(text)} characters; write at most {longest}, none of them a control character",
            field=field,
            reason="BAD_TEXT",
        )
