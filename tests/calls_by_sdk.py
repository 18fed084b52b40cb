"""Each call of metering as a program makes it: together the calls of one set every field of its request.

Each may be made by either client; what it returns is the answer, an iterator, or what awaits them.
"""

from datetime import UTC, datetime
from decimal import Decimal

from meterlog.client import CancellationPreview, Meter, UsageFilter, UsageName
from meterlog.ingest.v1 import ingest_pb2 as ingest

JANUARY = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
BACKFILL = {"atomic": True, "backfill": "jan"}
METER = Meter(
    *("calls", "api.call", "percentile"),
    percentile="95",
    value_property="bytes",
    value_expression="input",
    group_by=["model"],
    filters=["model=large"],
    unit="call",
    display_name="Calls",
)
NAMES = [UsageName("s", "1", 7)]
WHY = {"reason": "r", "decided_by": "ann"}
EVERY_WAY = UsageFilter(
    *("calls", ("api.call",), ("acme",), ("s",), *JANUARY, *JANUARY),
    conditions=("model=large",),
)
PREVIEW = CancellationPreview(3, 0, None, None, 0, (), 0, 88)
CLOUD_EVENT = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "subject": "acme", "time": JANUARY[0]}


def usage_events(client):
    return [client.event(type="call", subject="acme", id="1", time=JANUARY[0], value=1, properties={"a": 1})]


def cloud_event(**data):
    event = ingest.CloudEvent(id="1", source="s", spec_version="1.0", type="t", **data)
    event.attributes["subject"].ce_string = "acme"
    return event


def arrow_table():
    import pyarrow as pa

    return pa.table({"id": ["1"], "time": pa.array([0], pa.timestamp("us", "UTC"))})


IN_THE_SDK = {
    "IngestService.RecordUsage": [lambda m: m.record_batch(usage_events(m), **BACKFILL)],
    "IngestService.RecordUsageStream": [lambda m: m.record_stream([usage_events(m)] * 2, **BACKFILL)],
    "IngestService.RecordUsageColumns": [lambda m: m.record_columns(arrow_table(), **BACKFILL)],
    "IngestService.RecordCloudEvents": [
        lambda m: m.record_cloud_events([CLOUD_EVENT], **BACKFILL),
        lambda m: m.record_cloud_events([cloud_event(text_data="{}"), cloud_event(binary_data=b"{}")]),
    ],
    "IngestService.GetUsageReport": [lambda m: m.usage.report()],
    "AggregatorService.CreateMeter": [lambda m: m.meters.create(METER, wait=False)],
    "AggregatorService.GetCounting": [lambda m: m.meters.counting()],
    "AggregatorService.GetMeter": [lambda m: m.meters.get("calls")],
    "AggregatorService.ListMeters": [lambda m: m.meters.list(include_archived=True)],
    "AggregatorService.UpdateMeter": [lambda m: m.meters.update("calls", display_name="Calls", unit="call")],
    "AggregatorService.RedefineMeter": [
        lambda m: m.meters.redefine(METER, expected_version=1, effective_from=JANUARY[0], wait=False)
    ],
    "AggregatorService.PreviewMeter": [
        lambda m: m.meters.preview(METER, *JANUARY, subjects=["acme"], effective_from=JANUARY[0])
    ],
    "AggregatorService.ListMeterVersions": [lambda m: m.meters.versions("calls")],
    "AggregatorService.ArchiveMeter": [lambda m: m.meters.archive("calls")],
    "AggregatorService.QueryUsage": [
        lambda m: m.usage.query(
            *("calls", *JANUARY),
            subjects=["acme"],
            window="week",
            time_zone="Asia/Kathmandu",
            group_by=["subject"],
            filters=["model=large"],
            top=5,
            as_of=9,
            min_position=9,
        )
    ],
    "AggregatorService.WatchUsage": [
        lambda m: m.usage.watch("calls", *JANUARY, subjects=["acme"], group_by=["subject"], filters=["model=large"])
    ],
    "AggregatorService.QueryTotals": [lambda m: m.usage.totals("acme", ["calls"], *JANUARY, min_position=9)],
    "AggregatorService.GetUsageEvent": [lambda m: m.usage.event("s", "1")],
    "AggregatorService.ListUsageEvents": [
        lambda m: m.usage.events(
            subject="acme",
            type="api.call",
            source="s",
            meter="calls",
            start_at=JANUARY[0],
            end_at=JANUARY[1],
            recorded_from=JANUARY[0],
            recorded_until=JANUARY[1],
            conditions=["bytes>=100"],
            state="held",
        )
    ],
    "AggregatorService.ListUnmatchedUsage": [lambda m: m.usage.unmatched()],
    "AggregatorService.GetPeriodUsage": [
        lambda m: m.periods.usage("acme", "week", at=JANUARY[0], time_zone="Asia/Kathmandu", min_position=9)
    ],
    "AggregatorService.ClosePeriod": [
        lambda m: m.periods.close("week", JANUARY[0], time_zone="Asia/Kathmandu", subject="acme")
    ],
    "AggregatorService.ListClosedPeriods": [lambda m: m.periods.closed("acme", "week", only_restated=True)],
    "CorrectionService.PreviewCancellation": [
        lambda m: m.corrections.preview(NAMES),
        lambda m: m.corrections.preview(EVERY_WAY),
    ],
    "CorrectionService.CancelUsage": [
        lambda m: m.corrections.cancel("oops", NAMES, wait=False, **WHY),
        lambda m: m.corrections.cancel("oops", EVERY_WAY, expected=PREVIEW, **WHY),
    ],
    "CorrectionService.AmendUsage": [
        lambda m: m.corrections.amend("fix", NAMES[0], value=Decimal(3), properties={"a": "1"}, wait=False, **WHY)
    ],
    "CorrectionService.RevertCorrection": [lambda m: m.corrections.revert("oops", wait=False, **WHY)],
    "CorrectionService.GetCorrection": [lambda m: m.corrections.get("oops")],
    "CorrectionService.ListCorrections": [lambda m: m.corrections.list()],
    "CorrectionService.OpenBackfill": [
        lambda m: m.corrections.open_backfill(
            "jan",
            replaces_existing=True,
            start_at=JANUARY[0],
            end_at=JANUARY[1],
            subjects=["acme"],
            types=["api.call"],
            **WHY,
        )
    ],
    "CorrectionService.CloseBackfill": [
        lambda m: m.corrections.close_backfill("jan", expected_count=3, wait=False, **WHY)
    ],
    "CorrectionService.RevertBackfill": [lambda m: m.corrections.revert_backfill("jan", wait=False, **WHY)],
    "CorrectionService.GetBackfill": [lambda m: m.corrections.get_backfill("jan")],
    "CorrectionService.ListBackfills": [lambda m: m.corrections.list_backfills()],
    "UsageStorageService.GetUsageArchive": [lambda m: m.storage.archive()],
    "UsageStorageService.CompactUsageArchive": [lambda m: m.storage.compact()],
    "UsageStorageService.CheckUsage": [
        lambda m: m.storage.check(samples=10, seed=7),
        lambda m: m.storage.check(samples=None),
    ],
    "UsageStorageService.GetUsageCheck": [lambda m: m.storage.checked()],
}
