"""Killing any service during an import loses nothing and doubles nothing."""

import csv
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as aggregator
from meterlog.events.v1.usage_pb2 import UsageRecorded
from services.cli.addresses import SERVICES
from services.cli.auditing import verify_log
from services.cli.connection import Services
from services.cli.importing.command import ImportProgress, import_usage
from services.cli.importing.generate import generate_usage
from services.cli.importing.refusal import ImportInterrupted
from services.cli.platform import Platform
from services.cli.projections import wait_until_folded
from services.cli.rebuilding import rebuild_projections
from services.cli.screen import Screen
from services.cli.sealing import KEY_NAME, make_key, seal_once
from services.cli.usage import SUBJECT, UsageQuestion, read_usage
from services.eventstore.audit.seal_key import read_seal_key
from services.eventstore.audit.verify import WHOLE, Seal
from services.eventstore.catalogue import decode
from services.eventstore.event import BEGINNING
from services.eventstore.open import open_store
from services.eventstore.usage_batch import decode_usage
from services.kernel.calendar import Span
from services.kernel.clock import SystemClock
from services.projection.projection import RebuildMode

KILLS = {"sqlite": 10, "postgres": 4, "kurrentdb": 4}
SEED = 20231116
ROWS = 8_000
LATEST_KILL_ROW = 4_000
READY_TIMEOUT_S = 120.0
FOLD_TIMEOUT_S = 120.0

METERS = (
    aggregator.Meter(slug="requests", event_type="llm.completion", aggregation=aggregator.AGGREGATION_COUNT),
    aggregator.Meter(
        slug="input_tokens",
        event_type="llm.completion",
        aggregation=aggregator.AGGREGATION_SUM,
        value_property="input_tokens",
    ),
)
MAPPING = """
source: "{file}"
id: "row-{row}"
type: llm.completion
subject: "tenant-{row % 8}"
time: {column: TIMESTAMP, format: iso8601, zone: UTC}
properties: {input_tokens: {number: "{ContextTokens}"}}
"""


@dataclass(frozen=True)
class Expected:
    """A plain count of the files, by customer."""

    requests: Counter[str]
    tokens: dict[str, Decimal]


def plain_count(files: list[Path]) -> Expected:
    requests: Counter[str] = Counter()
    tokens: dict[str, Decimal] = {}
    for file in files:
        with file.open(newline="") as lines:
            for number, row in enumerate(csv.DictReader(lines)):
                customer = f"tenant-{number % 8}"
                requests[customer] += 1
                tokens[customer] = tokens.get(customer, Decimal(0)) + Decimal(row["ContextTokens"])
    return Expected(requests, tokens)


def quantities(services: Services, meter: str) -> dict[str, Decimal]:
    month = Span(datetime(2023, 11, 1, tzinfo=UTC), datetime(2023, 12, 1, tzinfo=UTC))
    rows = read_usage(services, meter, UsageQuestion(month, group_by=(SUBJECT,)))
    return {row.group[SUBJECT]: Decimal(row.quantity or 0) for row in rows}


def recorded_ids(store_url: str) -> Counter[tuple[str, str]]:
    """How often each (source, id) stands in the log."""
    store = open_store(store_url, SystemClock(), read_only=True)
    found: Counter[tuple[str, str]] = Counter()
    page = store.read_all(after=BEGINNING, categories={"usage"})
    while True:
        for event in page.events:
            message = decode(event)
            assert isinstance(message, UsageRecorded)
            batch = decode_usage(message)
            found.update(zip(batch["source"].to_pylist(), batch["id"].to_pylist(), strict=True))
        if page.is_last:
            store.close()
            return found
        page = store.read_all(after=page.position, categories={"usage"})


def is_proved(store_url: str, folder: Path) -> bool:
    """Whether every event of the log is what was stored, on any store."""
    key_file = folder / "seal.key"
    public_key = make_key(key_file, KEY_NAME)
    seal_once(store_url, folder / "sealed", read_seal_key(key_file))
    return verify_log(store_url, WHOLE, Seal(folder / "sealed", (public_key,))).verified


class KillAt:
    """Kills a service once the import has come to a row, while its next batches are on their way."""

    def __init__(self, platform: Platform, service: str, row: int) -> None:
        self._platform = platform
        self._service = service
        self._row = row
        self.rows_at_kill: int | None = None

    def __call__(self, progress: ImportProgress) -> None:
        if self.rows_at_kill is None and progress.rows >= self._row:
            self.rows_at_kill = progress.rows
            self._platform.kill(self._service)


def import_through_a_kill(platform: Platform, file: Path, mapping: Path, service: str, row: int) -> None:
    address = platform.addresses["ingest"]
    var = platform.settings.var
    kill = KillAt(platform, service, row)
    with suppress(ImportInterrupted):  # A person would run it again then, which happens below in any case.
        import_usage(file, mapping, address=address, var=var, on_progress=kill)
    assert kill.rows_at_kill is not None
    assert kill.rows_at_kill < ROWS
    platform.wait_until_ready(READY_TIMEOUT_S)
    again = import_usage(file, mapping, address=address, var=var, restart=True)
    assert (again.read, again.recorded + again.duplicate) == (ROWS, ROWS)


@pytest.mark.parametrize(("platform", "store"), [(store, store) for store in KILLS], indirect=["platform"])
def test_kills_at_random_moments_end_in_the_same_totals(tmp_path: Path, platform: Platform, store: str) -> None:
    kills = KILLS[store]
    moments = random.Random(SEED)
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(MAPPING)
    services = Services(platform.addresses)
    for meter in METERS:
        services.aggregator.call(services.meters.CreateMeter, aggregator.CreateMeterRequest(meter=meter))

    files = [tmp_path / f"hour-{number}.csv" for number in range(kills)]
    for number, file in enumerate(files):
        generate_usage(file, seed=number, rows=ROWS)
        victim = SERVICES[number % len(SERVICES)]
        import_through_a_kill(platform, file, mapping, victim, moments.randrange(LATEST_KILL_ROW))

    assert sum(platform.starts(service) for service in SERVICES) == len(SERVICES) + kills
    wait_until_folded(services.aggregator, FOLD_TIMEOUT_S)
    expected = plain_count(files)
    assert quantities(services, "requests") == {name: Decimal(count) for name, count in expected.requests.items()}
    assert quantities(services, "input_tokens") == expected.tokens
    assert recorded_ids(platform.settings.store_url) == Counter(
        {(file.name, f"row-{row}"): 1 for file in files for row in range(ROWS)}
    )
    assert all(result.equal for result in rebuild_projections(services, (), Screen(True), RebuildMode.COMPARE_ONLY))
    assert is_proved(platform.settings.store_url, tmp_path)
    services.close()
