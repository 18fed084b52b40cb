"""Each call of metering as a person types it: together the commands of a call set every field of its request."""

RANGE = "--from 2026-01-01 --to 2026-02-01"
FILTER = (
    "--meter calls --type api.call --customer acme --source s --from 2026-01-01 --to 2026-02-01"
    " --recorded-from 2026-01-01 --recorded-until 2026-02-01 --where model=large"
)
GROUPS = "--group-by customer --filter model=large"
DECIDED = "--reason r --by ann"
CHANGES = (
    "--event-type api.call --aggregation percentile --percentile 95 --value-property bytes --value-expression input"
    " --group-by model --filter model=large"
)
ON_THE_COMMAND_LINE = {
    "IngestService.RecordUsage": ["import usage.csv --mapping mapping.yaml --backfill jan"],
    "IngestService.RecordUsageStream": ["simulate --events 1 --door stream --from 2026-01-01"],
    "IngestService.RecordUsageColumns": ["import access.log --backfill jan"],
    "IngestService.RecordCloudEvents": ["usage send events.json --atomic --backfill jan", "import events.json"],
    "IngestService.GetUsageReport": ["usage report"],
    "AggregatorService.CreateMeter": [f"meters create calls {CHANGES} --unit call --display-name Calls"],
    "AggregatorService.GetCounting": ["meters counting"],
    "AggregatorService.GetMeter": ["meters show calls"],
    "AggregatorService.ListMeters": ["meters list --archived"],
    "AggregatorService.UpdateMeter": ["meters update calls --display-name Calls --unit call"],
    "AggregatorService.RedefineMeter": [f"meters redefine calls {CHANGES} --effective-from 2026-01-01"],
    "AggregatorService.PreviewMeter": [
        f"meters preview calls {CHANGES} --effective-from 2026-01-01 {RANGE} --customer acme"
    ],
    "AggregatorService.ListMeterVersions": ["meters versions calls"],
    "AggregatorService.ArchiveMeter": ["meters archive calls"],
    "AggregatorService.QueryUsage": [
        f"usage {RANGE} --meter calls --customer acme --window week --zone Asia/Kathmandu {GROUPS} --top 5 --as-of 9"
    ],
    "AggregatorService.WatchUsage": [f"usage watch calls {RANGE} --customer acme {GROUPS} --seconds 5"],
    "AggregatorService.QueryTotals": [f"usage totals acme --meter calls {RANGE} --min-position 9"],
    "AggregatorService.GetUsageEvent": ["usage event s 1"],
    "AggregatorService.ListUsageEvents": [f"usage events {FILTER} --state held"],
    "AggregatorService.ListUnmatchedUsage": ["usage unmatched"],
    "AggregatorService.GetPeriodUsage": ["periods show acme --period week --at 2026-01-01 --zone Asia/Kathmandu"],
    "AggregatorService.ClosePeriod": [
        "periods close --period week --at 2026-01-01 --zone Asia/Kathmandu --customer acme"
    ],
    "AggregatorService.ListClosedPeriods": ["periods list --customer acme --period week --restated"],
    "CorrectionService.PreviewCancellation": [
        "corrections preview --source s --id 1",
        f"corrections preview {FILTER}",
    ],
    "CorrectionService.CancelUsage": [
        f"corrections cancel oops --source s --id 1 {DECIDED}",
        f"corrections cancel oops {FILTER} --expect 3 --until 88 {DECIDED}",
    ],
    "CorrectionService.AmendUsage": [f"corrections amend fix --source s --id 1 --value 3 --property a=1 {DECIDED}"],
    "CorrectionService.RevertCorrection": [f"corrections revert oops {DECIDED}"],
    "CorrectionService.GetCorrection": ["corrections show oops"],
    "CorrectionService.ListCorrections": ["corrections list"],
    "CorrectionService.OpenBackfill": [
        f"backfills open jan --replace {RANGE} --customer acme --type api.call {DECIDED}"
    ],
    "CorrectionService.CloseBackfill": [f"backfills close jan --expect 3 {DECIDED}"],
    "CorrectionService.RevertBackfill": [f"backfills revert jan {DECIDED}"],
    "CorrectionService.GetBackfill": ["backfills show jan"],
    "CorrectionService.ListBackfills": ["backfills list"],
    "UsageStorageService.GetUsageArchive": ["archive status"],
    "UsageStorageService.CompactUsageArchive": ["archive compact"],
    "UsageStorageService.CheckUsage": ["usage check --samples 10 --seed 7", "usage check --all"],
    "UsageStorageService.GetUsageCheck": ["usage check --last"],
}

NOT_ON_THE_COMMAND_LINE = {
    # A file is resumed row by row, so no import is all or nothing; `usage send` is.
    "IngestService.RecordUsage": {"atomic"},
    "IngestService.RecordUsageColumns": {"atomic"},
    # Only made-up usage goes by stream.
    "IngestService.RecordUsageStream": {"atomic", "backfill"},
    # A file holds JSON.
    "IngestService.RecordCloudEvents": {
        *("events", "events.id", "events.source", "events.type", "events.spec_version", "events.attributes"),
        *("events.text_data", "events.binary_data"),
    },
    # These are changed by `meters update`, for which nothing is counted anew.
    "AggregatorService.RedefineMeter": {"meter.unit", "meter.display_name"},
    "AggregatorService.PreviewMeter": {"meter.unit", "meter.display_name"},
    # People name a usage event by what it is known by; the log is searched for it.
    "CorrectionService.PreviewCancellation": {"names.position"},
    "CorrectionService.CancelUsage": {"names.position"},
    "CorrectionService.AmendUsage": {"name.position"},
    # Who types has not just recorded anything; `usage totals` waits for a position.
    "AggregatorService.QueryUsage": {"min_position"},
    "AggregatorService.GetPeriodUsage": {"min_position"},
}
