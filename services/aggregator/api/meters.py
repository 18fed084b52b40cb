"""The API's methods about meters."""

from dataclasses import replace

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.api.meter_message import meter_message, parse_definition, parse_effective_from
from services.aggregator.api.meter_preview import MeterPreview
from services.aggregator.archived_usage import ArchivedUsage
from services.aggregator.deadline import Deadline
from services.aggregator.definition import Definition
from services.aggregator.many_groups import require_few_groups
from services.aggregator.meter import (
    METER,
    ArchiveMeter,
    CreateMeter,
    Meter,
    MeterCommand,
    RedefineMeter,
    UpdateMeter,
    meter_stream,
)
from services.aggregator.meter_rows import list_meters, read_meter, read_versions
from services.aggregator.snapshot import snapshot
from services.aggregator.tables import UsageTables
from services.eventstore.decider import handle, load
from services.eventstore.store import EventStore
from services.kernel.clock import Clock
from services.kernel.errors import InvalidInput
from services.kernel.ids import require_slug
from services.projection.runner import ProjectionRunner
from services.rpc.pages import decode_token, encode_token, page_size


class Meters:
    """Runs commands against a meter's stream; reads meters from the read model. A command is readable when answered."""

    def __init__(
        self,
        store: EventStore,
        windows: ProjectionRunner[UsageTables],
        clock: Clock,
        archive: ArchivedUsage | None = None,
    ) -> None:
        self._store = store
        self._windows = windows
        self._clock = clock
        self._archive = archive
        self._preview = MeterPreview(store, windows, clock, archive)

    def create(self, request: api.CreateMeterRequest, left_s: float) -> api.CreateMeterResponse:
        """Create a meter; answered when earlier usage is counted too. RuleViolated for too many groups."""
        deadline = Deadline.after(left_s)
        definition = parse_definition(request.meter)
        if load(self._store, METER, meter_stream(definition.slug)) is None:
            self._require_few_groups(definition, deadline)
        meter = self._run(definition.slug, CreateMeter(definition, self._clock.now()), deadline)
        return api.CreateMeterResponse(meter=meter_message(meter))

    def redefine(self, request: api.RedefineMeterRequest, left_s: float) -> api.RedefineMeterResponse:
        """Change what a meter counts; answered when its usage is counted anew. RuleViolated for too many groups."""
        deadline = Deadline.after(left_s)
        slug = require_slug(request.slug, "slug")
        definition, effective_from = _parse_redefinition(request, slug), parse_effective_from(request)
        standing = load(self._store, METER, meter_stream(slug))
        if standing is not None and definition.group_by != standing.definition.group_by:
            self._require_few_groups(replace(definition, effective_from=effective_from), deadline)
        command = RedefineMeter(definition, effective_from, request.expected_version, self._clock.now())
        return api.RedefineMeterResponse(meter=meter_message(self._run(slug, command, deadline)))

    def preview(self, request: api.PreviewMeterRequest, left_s: float) -> api.PreviewMeterResponse:
        """What a meter would say of past usage, beside what it says now."""
        return self._preview.preview(request, left_s)

    def versions(self, request: api.ListMeterVersionsRequest) -> api.ListMeterVersionsResponse:
        """What a meter said over time."""
        with self._windows.read() as (connection, tables):
            versions = read_versions(connection, tables, request.slug)
        return api.ListMeterVersionsResponse(versions=map(meter_message, versions))

    def update(self, request: api.UpdateMeterRequest, left_s: float) -> api.UpdateMeterResponse:
        """Change a meter's name or unit."""
        slug = require_slug(request.slug, "slug")
        name = request.display_name if request.HasField("display_name") else None
        unit = request.unit if request.HasField("unit") else None
        meter = self._run(slug, UpdateMeter(slug, name, unit, self._clock.now()), Deadline.after(left_s))
        return api.UpdateMeterResponse(meter=meter_message(meter))

    def archive(self, request: api.ArchiveMeterRequest, left_s: float) -> api.ArchiveMeterResponse:
        """Archive a meter."""
        slug = require_slug(request.slug, "slug")
        meter = self._run(slug, ArchiveMeter(slug, self._clock.now()), Deadline.after(left_s))
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

    def _require_few_groups(self, definition: Definition, deadline: Deadline) -> None:
        with snapshot(self._windows, self._store, self._archive) as usage:
            require_few_groups(usage, definition, deadline)

    def _run(self, slug: str, command: MeterCommand, deadline: Deadline) -> Meter:
        """Raises TimedOut; when the time was over before, nothing is decided."""
        deadline.require()
        outcome = handle(self._store, METER, meter_stream(slug), command, self._clock.now())
        if outcome.appended is not None:
            self._windows.wait_for(outcome.appended.position, deadline.left_s())
        assert outcome.state is not None, "a command either refuses or leaves a meter"
        return outcome.state


def _parse_redefinition(request: api.RedefineMeterRequest, slug: str) -> Definition:
    if request.meter.slug not in ("", slug):
        raise InvalidInput(
            f'meter.slug is "{request.meter.slug[:64]}", not that of meter "{slug}"; a slug never changes',
            field="meter.slug",
            reason="SLUG_CHANGED",
        )
    if request.expected_version < 1:
        raise InvalidInput(
            "expected_version is missing; send the version of the meter that you have seen",
            field="expected_version",
            reason="FIELD_MISSING",
        )
    meter = api.Meter()
    meter.CopyFrom(request.meter)
    meter.slug = slug
    return parse_definition(meter)
