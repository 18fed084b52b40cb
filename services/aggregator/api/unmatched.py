"""The API's method about usage that no meter counts."""

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.snapshot import snapshot
from services.aggregator.tables import UsageTables
from services.aggregator.usage.unmatched import unmatched_types
from services.aggregator.usage.usage_types import RecordedType
from services.eventstore.store import EventStore
from services.kernel.clock import from_epoch_us
from services.kernel.errors import InvalidInput
from services.kernel.timestamp import to_timestamp
from services.projection.runner import ProjectionRunner
from services.rpc.pages import decode_token, encode_token, page_size


class Unmatched:
    """Reads the types that were recorded, and the meters, from the read model."""

    def __init__(self, store: EventStore, windows: ProjectionRunner[UsageTables]) -> None:
        self._store = store
        self._windows = windows

    def list(self, request: api.ListUnmatchedUsageRequest) -> api.ListUnmatchedUsageResponse:
        """Types that no meter in use counts, by name."""
        size, after = page_size(request.page_size), _last_type(request.page_token)
        with snapshot(self._windows, self._store) as usage:
            types = unmatched_types(usage, after, size + 1)
        token = encode_token(types[size - 1].type) if len(types) > size else ""
        return api.ListUnmatchedUsageResponse(types=map(_message, types[:size]), next_page_token=token)


def _last_type(token: str) -> str:
    match decode_token(token):
        case ():
            return ""
        case (str(name),):
            return name
        case _:
            raise InvalidInput("page_token is of another list; start from the first page", field="page_token")


def _message(recorded: RecordedType) -> api.UnmatchedUsage:
    return api.UnmatchedUsage(
        type=recorded.type,
        usage_event_count=recorded.usage_event_count,
        first_at=to_timestamp(from_epoch_us(recorded.first_at_us)),
        last_at=to_timestamp(from_epoch_us(recorded.last_at_us)),
        first_position=recorded.first_position,
        last_position=recorded.last_position,
    )
