"""What is wrong with one usage event, in the words of its producer's answer."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a usage event was not recorded: a stable reason, the field at fault, and what to do, for people."""

    reason: str
    field: str
    message: str


def shown(text: str) -> str:
    """`text` as a message may show it: quoted, escaped, and short even when every character is escaped."""
    quoted = repr(text[:_SHOWN_MAX])
    return quoted if len(text) <= _SHOWN_MAX and len(quoted) <= 2 * _SHOWN_MAX else f"{quoted[: 2 * _SHOWN_MAX]}…"


_SHOWN_MAX = 40
