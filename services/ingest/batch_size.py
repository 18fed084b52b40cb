"""How many usage events a request for rows may have."""

from typing import Final

from services.kernel.errors import InvalidInput

USAGE_EVENTS_MAX: Final = 10_000


def require_batch_size(count: int) -> None:
    """Raises InvalidInput (BATCH_SIZE) for an empty and for an oversized batch."""
    if not 1 <= count <= USAGE_EVENTS_MAX:
        raise InvalidInput(
            f"the batch has {count} usage events; send 1 to {USAGE_EVENTS_MAX}", field="events", reason="BATCH_SIZE"
        )
