"""Two aggregators of one `meterlog up`: both answer an operator, and only the one that folds takes orders."""

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as aggregator
from meterlog.aggregator.v1 import storage_pb2 as storage
from meterlog.ingest.v1 import ingest_pb2 as ingest
from services.cli.__main__ import main
from services.cli.addresses import SERVICES
from services.cli.connection import Services
from services.cli.platform import Platform
from services.cli.processes.environment import PlatformSettings
from services.cli.processes.ports import ANY_PORT
from services.cli.processes.var_lock import VarLock
from services.cli.projections import known_projections
from services.cli.refusal import CallFailed
from services.kernel.clock import monotonic_s
from services.kernel.timestamp import to_timestamp
from tests.e2e.conftest import own_environment
from tests.stores import STORES

WAIT_S = 60.0
REPLICAS = ("aggregator", "aggregator-2")
GUIDE = Path(__file__).resolve().parents[2] / "docs/guides/aggregator-replicas.md"
NOVEMBER = datetime(2025, 11, 1, tzinfo=UTC), datetime(2025, 12, 1, tzinfo=UTC)
NOON = datetime(2025, 11, 20, 12, tzinfo=UTC)

Command = Callable[..., tuple[int, Any]]


class TwoAggregators:
    """A platform whose aggregators share a database; `at` has the services with one of them as the aggregator."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.at = {
            replica: Services({**platform.addresses, "aggregator": platform.addresses[replica]}) for replica in REPLICAS
        }

    def leaders(self) -> dict[str, str]:
        """The process that each replica follows; empty for the one that folds. Nothing while one does not answer."""
        try:
            return {replica: leader_of(services) for replica, services in self.at.items()}
        except CallFailed:
            return {}

    def settled(self) -> tuple[str, str]:
        """The replica that folds and the one that follows it, as soon as there is one of each."""
        deadline = monotonic_s() + WAIT_S
        while True:
            leaders = self.leaders()
            folds = [replica for replica, leader in leaders.items() if not leader]
            if len(folds) == 1:
                (follows,) = set(REPLICAS) - set(folds)
                return folds[0], follows
            assert monotonic_s() < deadline, leaders
            threading.Event().wait(0.05)

    def record(self, number: int) -> int:
        """One call of one customer; the log position of it."""
        event = ingest.UsageEvent(
            id=f"call-{number}", source="gateway", type="api.call", subject="acme", time=to_timestamp(NOON)
        )
        recording = self.at["aggregator"].recording
        (result,) = recording.RecordUsage(ingest.RecordUsageRequest(events=[event]), timeout=WAIT_S).results
        return int(result.position)

    def november(self, replica: str, min_position: int) -> str:
        """What a replica says of the month, at that position or later."""
        start, end = map(to_timestamp, NOVEMBER)
        request = aggregator.QueryUsageRequest(
            meter="calls", subjects=["acme"], start_at=start, end_at=end, min_position=min_position
        )
        return str(self.at[replica].meters.QueryUsage(request, timeout=WAIT_S, wait_for_ready=True).rows[0].value)


def leader_of(services: Services) -> str:
    known = known_projections(services)
    return next(found.leader for service, found in known if service.name == "aggregator")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoAggregators]:
    var: Path = tmp_path_factory.mktemp("two") / "var"
    with STORES["postgres"]() as variables:
        settings = PlatformSettings(var, ANY_PORT, aggregators=2, environment=own_environment(**variables))
        with Platform(settings, VarLock.take(var), lambda _line: None) as platform:
            made = TwoAggregators(platform)
            meter = aggregator.Meter(slug="calls", event_type="api.call", aggregation=aggregator.AGGREGATION_COUNT)
            made.at["aggregator-2"].meters.CreateMeter(aggregator.CreateMeterRequest(meter=meter), timeout=WAIT_S)
            yield made
            for services in made.at.values():
                services.close()


def ask_the_follower(two: TwoAggregators, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands of this test find the services of the platform, and as the aggregator the replica that follows."""
    _, follows = two.settled()
    for service in SERVICES:
        replica = follows if service == "aggregator" else service
        monkeypatch.setenv(f"METERLOG_{service.upper()}_ADDRESS", two.platform.addresses[replica])


@pytest.fixture
def follower(two: TwoAggregators, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `meterlog … --json` with the replica that follows as the aggregator; exit code and document."""
    ask_the_follower(two, monkeypatch)

    def command(*arguments: str) -> tuple[int, Any]:
        monkeypatch.setattr(sys, "argv", ["meterlog", *arguments, "--json"])
        capsys.readouterr()
        code = main()
        return code, json.loads(capsys.readouterr().out)

    return command


def test_a_follower_shows_whom_it_follows_by_host_and_process(two: TwoAggregators, follower: Command) -> None:
    _, follows = two.settled()
    code, known = follower("projections", "list")
    told = {found["leader"] for found in known if found["service"] == "aggregator"}
    assert (code, told) == (0, {two.leaders()[follows]})


@pytest.mark.parametrize(
    "order",
    [
        "rebuild",
        "rebuild usage_windows",
        "rebuild usage_windows --dry-run",
        "rebuild usage_windows --discard",
        "rebuild usage_windows --cancel",
        "rebuild --cancel",
        "projections skip usage_windows 1 --reason spoilt",
        "usage check",
        "usage check --last",
        "archive compact",
    ],
)
def test_an_order_to_a_follower_fails_and_names_whom_to_ask(two: TwoAggregators, follower: Command, order: str) -> None:
    _, follows = two.settled()
    code, document = follower(*order.split())
    assert (code, document["error"]["reason"]) == (1, "REPLICA_FOLLOWS")
    assert two.leaders()[follows] in document["error"]["message"]
    assert "METERLOG_AGGREGATOR_ADDRESS" in document["error"]["message"]


@pytest.mark.parametrize("question", ["projections parked", "meters list", "periods list"])
def test_a_question_to_a_follower_is_answered(follower: Command, question: str) -> None:
    assert follower(*question.split())[0] == 0


def test_an_order_to_all_services_is_refused_before_any_of_them_begins(two: TwoAggregators, follower: Command) -> None:
    before = generations(two)
    assert follower("rebuild", "--replace")[0] == 1
    assert generations(two) == before


def generations(two: TwoAggregators) -> dict[str, int]:
    return {found.name: found.generation for _, found in known_projections(two.at["aggregator"])}


def test_both_tell_what_the_archive_holds_once_the_one_that_folds_was_told_to_archive(two: TwoAggregators) -> None:
    two.record(1)
    folds, _ = two.settled()
    compact = two.at[folds].storage.CompactUsageArchive
    done = compact(storage.CompactUsageArchiveRequest(), timeout=WAIT_S).archive
    assert (done.usage_event_count, done.problem) == (1, "")
    deadline = monotonic_s() + WAIT_S
    while len({archived(services) for services in two.at.values()}) > 1:
        assert monotonic_s() < deadline, "the follower did not see what was archived"
        threading.Event().wait(0.05)


def archived(services: Services) -> tuple[str, int, str]:
    found = services.storage.GetUsageArchive(storage.GetUsageArchiveRequest(), timeout=WAIT_S).archive
    return found.url, found.usage_event_count, found.problem


def test_killing_the_one_that_folds_loses_nothing_doubles_nothing_and_one_folds_again(two: TwoAggregators) -> None:
    folds, follows = two.settled()
    before = int(two.november(follows, two.record(100)))
    starts = two.platform.starts(folds)
    two.platform.kill(folds)
    position = two.record(101)
    assert two.november(follows, position) == str(before + 1)
    two.platform.wait_until_ready(WAIT_S)
    assert two.platform.starts(folds) == starts + 1
    assert set(two.settled()) == set(REPLICAS)
    assert [two.november(replica, position) for replica in REPLICAS] == [str(before + 1)] * 2


def test_the_guide_shows_what_a_follower_says(
    two: TwoAggregators, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask_the_follower(two, monkeypatch)
    monkeypatch.setenv("COLUMNS", "110")
    said = ""
    for order in ("projections list", "rebuild usage_windows", "archive compact"):
        monkeypatch.setattr(sys, "argv", ["meterlog", *order.split()])
        main()
        said += "".join(capsys.readouterr())
    shown = [line for line in GUIDE.read_text().splitlines() if re.match(r" {4}(error:|│ aggregator)", line)]
    assert len(shown) == 4
    assert {masked(line) for line in shown} <= {masked(line) for line in said.splitlines()}


def masked(line: str) -> str:
    """A line without what differs from run to run: addresses, host and process, positions, the room they take."""
    without = re.sub(r'meterlog [^" ]+ \d+|127\.0\.0\.1:\d+|\d+ of \d+', "#", line)
    return re.sub(r"\s+", " ", without).strip()
