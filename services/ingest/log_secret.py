"""What the digests of a log are keyed by beside random bytes: it tells one log from another."""

from services.eventstore.log_settings import LOG_SETTINGS_STREAM
from services.eventstore.store import EventStore
from services.kernel.errors import Corrupt


def log_secret(store: EventStore) -> bytes:
    """Leaf and id of the first event of the log's settings: the same for every replica, and for ever.

    Raises Corrupt when the log has no settings, which whoever starts first writes.
    """
    first = store.read_stream(LOG_SETTINGS_STREAM, limit=1)
    if not first:
        raise Corrupt(f'the log has no stream "{LOG_SETTINGS_STREAM}", which is written before all others; verify it')
    return first[0].leaf + first[0].id.bytes
