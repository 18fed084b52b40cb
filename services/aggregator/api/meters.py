"""The API's methods about meters."""

from dataclasses import replace

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.api.meter_message import meter_message, parse_definition, parse_effective_from
from services.aggregator.api.meter_preview import MeterPreview
from services.aggregator.deadline import Deadline
from services.aggregator.meters.definition import Definition
from services.aggregator.meters.many_groups import require_few_groups
from services.aggregator.meters.meter import (
    CATEGORY,
    METER,
    ArchiveMeter,
    CreateMeter,
    MeterCommand,
    RedefineMeter,
    UpdateMeter,
    meter_stream,
)
from services.aggregator.meters.meter_rows import list_meters, read_meter, read_versions
from services.aggregator.snapshot import snapshot
from services.aggregator.tables import UsageTables
from services.aggregator.usage.archived_usage import ArchivedUsage
from services.aggregator.waiting.counting_progress import NOBODY_COUNTS, CountingView
from services.aggregator.waiting.outstanding import Outstanding
from services.eventstore.decider import handle, load
from services.eventstore.store import EventStore
from services.kernel.clock import Clock
from services.kernel.errors import InvalidInput
from services.kernel.ids import require_slug
from services.projection.runner import ProjectionRunner
from services.rpc.pages import decode_token, encode_token, page_size


class Meters:
    """Runs commands against a meter's stream; reads meters from the read model, and from the log those not counted yet.

    Unless it is to be answered early, a command is answered when usage says what it says.
    """

    def __init__(
        self,
        store: EventStore,
        windows: ProjectionRunner[UsageTables],
        clock: Clock,
        archive: ArchivedUsage | None = None,
        view: CountingView = NOBODY_COUNTS,
    ) -> None:
        """`view` knows how far counts of earlier usage are."""
        self._store = store
        self._windows = windows
        self._clock = clock
        self._archive = archive
        self._preview = MeterPreview(store, windows, clock, archive)
        self._outstanding = Outstanding(store, windows, view)

    def create(self, request: api.CreateMeterRequest, left_s: float) -> api.CreateMeterResponse:
        """Create a meter over all usage. RuleViolated for too many groups; TimedOut while it is STILL_COUNTING."""
        deadline = Deadline.after(left_s)
        definition = parse_definition(request.meter)
        if load(self._store, METER, meter_stream(definition.slug)) is None:
            self._require_few_groups(definition, deadline)
        command = CreateMeter(definition, self._clock.now())
        meter = self._run(definition.slug, command, deadline, answer_early=request.answer_early)
        return api.CreateMeterResponse(meter=meter)

    def redefine(self, request: api.RedefineMeterRequest, left_s: float) -> api.RedefineMeterResponse:
        """Change what a meter counts. RuleViolated for too many groups; TimedOut while it is STILL_COUNTING."""
        deadline = Deadline.after(left_s)
        slug = require_slug(request.slug, "slug")
        definition, effective_from = _parse_redefinition(request, slug), parse_effective_from(request)
        standing = load(self._store, METER, meter_stream(slug))
        if standing is not None and definition.group_by != standing.definition.group_by:
            self._require_few_groups(replace(definition, effective_from=effective_from), deadline)
        command = RedefineMeter(definition, effective_from, request.expected_version, self._clock.now())
        meter = self._run(slug, command, deadline, answer_early=request.answer_early)
        return api.RedefineMeterResponse(meter=meter)

    def preview(self, request: api.PreviewMeterRequest, left_s: float) -> api.PreviewMeterResponse:
        """What a meter would say of past usage, beside what it says now."""
        return self._preview.preview(request, left_s)

    def versions(self, request: api.ListMeterVersionsRequest) -> api.ListMeterVersionsResponse:
        """What a meter said over time."""
        with self._outstanding.explained(), self._windows.read() as (connection, tables):
            versions = read_versions(connection, tables, request.slug)
        return api.ListMeterVersionsResponse(versions=map(meter_message, versions))

    def update(self, request: api.UpdateMeterRequest, left_s: float) -> api.UpdateMeterResponse:
        """Change a meter's name or unit."""
        slug = require_slug(request.slug, "slug")
        name = request.display_name if request.HasField("display_name") else None
        unit = request.unit if request.HasField("unit") else None
        meter = self._run(slug, UpdateMeter(slug, name, unit, self._clock.now()), Deadline.after(left_s))
        return api.UpdateMeterResponse(meter=meter)

    def archive(self, request: api.ArchiveMeterRequest, left_s: float) -> api.ArchiveMeterResponse:
        """Archive a meter."""
        slug = require_slug(request.slug, "slug")
        meter = self._run(slug, ArchiveMeter(slug, self._clock.now()), Deadline.after(left_s))
        return api.ArchiveMeterResponse(meter=meter)

    def get(self, request: api.GetMeterRequest) -> api.GetMeterResponse:
        """One meter; raises NotFound."""
        return api.GetMeterResponse(meter=self._message(request.slug))

    def list(self, request: api.ListMetersRequest) -> api.ListMetersResponse:
        """Meters by slug; those that are counted now as the log says them, new ones among them."""
        size = page_size(request.page_size)
        after = str(next(iter(decode_token(request.page_token)), ""))
        counted = self._counted_now(after, include_archived=request.include_archived)
        with self._windows.read() as (connection, tables):
            listed = list_meters(
                connection, tables, after=after, limit=size + 1, include_archived=request.include_archived
            )
        found = {meter.definition.slug: meter_message(meter) for meter in listed} | counted
        slugs = sorted(found)[: size + 1]
        token = encode_token(slugs[size - 1]) if len(slugs) > size else ""
        return api.ListMetersResponse(meters=[found[slug] for slug in slugs[:size]], next_page_token=token)

    def _counted_now(self, after: str, *, include_archived: bool) -> dict[str, api.Meter]:
        """The meters behind a slug that earlier usage is counted for at this moment."""
        running = self._outstanding.running()
        streams = () if running is None else running.streams
        slugs = [stream.id for stream in streams if stream.category == CATEGORY and stream.id > after]
        meters = [meter for slug in slugs if (meter := load(self._store, METER, meter_stream(slug))) is not None]
        return {
            meter.definition.slug: meter_message(meter, running)
            for meter in meters
            if include_archived or meter.archived_at is None
        }

    def _require_few_groups(self, definition: Definition, deadline: Deadline) -> None:
        with snapshot(self._windows, self._store, self._archive) as usage:
            require_few_groups(usage, definition, deadline)

    def _run(self, slug: str, command: MeterCommand, deadline: Deadline, *, answer_early: bool = False) -> api.Meter:
        """Raises TimedOut; when the time was over before, nothing is decided."""
        deadline.require()
        handle(self._store, METER, meter_stream(slug), command, self._clock.now())
        if not answer_early:
            self._outstanding.wait(meter_stream(slug), deadline)
        return self._message(slug)

    def _message(self, slug: str) -> api.Meter:
        """The meter as the read model has it, or as the log says it while it is not counted; raises NotFound."""
        counting = self._outstanding.of(meter_stream(slug))
        meter = None if counting is None else load(self._store, METER, meter_stream(slug))
        if meter is not None:
            return meter_message(meter, counting)
        with self._windows.read() as (connection, tables):
            return meter_message(read_meter(connection, tables, slug))


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
