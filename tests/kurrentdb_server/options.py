"""What a server may be told to be like."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.kurrentdb_server.recent_ids import DEFAULT_BYTES

APPEND_BYTES_MAX = 1024 * 1024
RECORD_BYTES_MAX = 16 * 1024 * 1024 - 10_000
LIVE_BUFFER_EVENTS = 32
EVENT_BYTES_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Options:
    """Limits and habits; those of the 24.10 line unless said otherwise.

    `caught_up_says_position` is false as in 23.10. No released server sends
    `fell_behind`. Without `users` nobody is asked who they are, as with `--insecure`; the first user is an
    administrator, the others may neither read the whole log nor system streams.
    """

    append_bytes_max: int = APPEND_BYTES_MAX
    event_bytes_max: int = EVENT_BYTES_MAX
    recent_ids_bytes: int = DEFAULT_BYTES
    live_buffer_events: int = LIVE_BUFFER_EVENTS
    caught_up_says_position: bool = True
    says_fell_behind: bool = False
    users: Mapping[str, str] = field(default_factory=dict)
