"""The API's methods about meters."""

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.api.meter_message import meter_message, parse_definition
from services.aggregator.meter import METER, ArchiveMeter, CreateMeter, Meter, MeterCommand, UpdateMeter, meter_stream
from services.aggregator.meter_rows import list_meters, read_meter
from services.aggregator.tables import UsageTables
from services.eventstore.decider import handle
from services.eventstore.store import EventStore
from services.kernel.clock import Clock
from services.kernel.ids import require_slug
from services.projection.runner import ProjectionRunner
from services.rpc.pages import decode_token, encode_token, page_size


class Meters:
    """Runs commands against a meter's stream; reads meters from the read model. A command is readable when answered."""

    def __init__(self, store: EventStore, windows: ProjectionRunner[UsageTables], clock: Clock) -> None:
        self._store = store
        self._windows = windows
        self._clock = clock

    def create(self, request: api.CreateMeterRequest, left_s: float) -> api.CreateMeterResponse:
        """Create a meter; answered when earlier usage is counted too."""
        definition = parse_definition(request.meter)
        meter = self._run(definition.slug, CreateMeter(definition, self._clock.now()), left_s)
        return api.CreateMeterResponse(meter=meter_message(meter))

    def update(self, request: api.UpdateMeterRequest, left_s: float) -> api.UpdateMeterResponse:
        """Change a meter's name or unit."""
        slug = require_slug(request.slug, "slug")
        name = request.display_name if request.HasField("display_name") else None
        unit = request.unit if request.HasField("unit") else None
        meter = self._run(slug, UpdateMeter(slug, name, unit, self._clock.now()), left_s)
        return api.UpdateMeterResponse(meter=meter_message(meter))

    def archive(self, request: api.ArchiveMeterRequest, left_s: float) -> api.ArchiveMeterResponse:
        """Archive a meter."""
        slug = require_slug(request.slug, "slug")
        meter = self._run(slug, ArchiveMeter(slug, self._clock.now()), left_s)
        return api.ArchiveMeterResponse(meter=meter_message(meter))

    def get(self, request: api.GetMeterRequest) -> api.GetMeterResponse:
        """One meter."""
        with self._windows.read() as (connection, tables):
            return api.GetMeterResponse(meter=meter_message(read_meter(connection, tables, request.slug)))

    def list(self, request: api.ListMetersRequest) -> api.ListMetersResponse:
        """Meters by slug."""
        size = page_size(request.page_size)
        after = str(next(iter(decode_token(request.page_token)), ""))
        with self._windows.read() as (connection, tables):
            meters = list_meters(
                connection, tables, after=after, limit=size + 1, include_archived=request.include_archived
            )
        token = encode_token(meters[size - 1].definition.slug) if len(meters) > size else ""
        return api.ListMetersResponse(meters=map(meter_message, meters[:size]), next_page_token=token)

    def _run(self, slug: str, command: MeterCommand, left_s: float) -> Meter:
        outcome = handle(self._store, METER, meter_stream(slug), command, self._clock.now())
        if outcome.appended is not None:
            self._windows.wait_for(outcome.appended.position, left_s)
        assert outcome.state is not None, "a command either refuses or leaves a meter"
        return outcome.state
