"""Three replicas of the aggregator: whichever is asked, it says and does the same; restarted one by one, none fails."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from functools import partial
from itertools import count
from threading import Event

import grpc
import psycopg
import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as api
from meterlog.aggregator.v1 import correction_pb2 as corrections
from meterlog.aggregator.v1 import storage_pb2 as storage
from meterlog.aggregator.v1.aggregator_pb2_grpc import AggregatorServiceStub
from meterlog.aggregator.v1.correction_pb2_grpc import CorrectionServiceStub
from meterlog.aggregator.v1.storage_pb2_grpc import UsageStorageServiceStub
from meterlog.common.v1 import projection_pb2 as projections
from meterlog.common.v1.projection_pb2_grpc import ProjectionServiceStub
from services.aggregator.corrections.turn import DECIDING
from services.kernel.timestamp import to_timestamp
from services.projection.database import Database
from tests.crash.metering.service_process import ServiceProcess
from tests.replicas_room import (
    CALL_TIMEOUT_S,
    SPAN,
    Replicas,
    Said,
    Totals,
    again_and_again,
    answered,
    beside,
    some_usage,
    three_replicas,
    until,
)

BATCH = 25
LOADED = 20
PAUSE_S = 0.1


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Replicas that nobody harms, but for those who restart one in order; tests use subjects of their own."""
    with three_replicas(tmp_path_factory.mktemp("calm")) as opened:
        yield opened


def test_a_meter_created_through_a_replica_that_follows_counts_there_when_the_call_returns(calm: Replicas) -> None:
    calm.record(some_usage("early", 0, 8, ["early"]))
    for process in calm.followers():
        slug = f"of_{process.name.replace('-', '_')}"
        meter = api.Meter(slug=slug, event_type="call", aggregation=api.AGGREGATION_COUNT)
        with calm.channel(process) as channel:
            AggregatorServiceStub(channel).CreateMeter(api.CreateMeterRequest(meter=meter), timeout=CALL_TIMEOUT_S)
        assert calm.ask(process, meter=slug).totals["early"] == "8"


def test_two_replacing_backfills_closed_at_once_through_two_replicas_count_once(calm: Replicas) -> None:
    calm.record(some_usage("before", 0, LOADED, ["twice"]))
    for turn in range(2):
        keys = [f"at_once_{turn}_{number}" for number in range(2)]
        for number, key in enumerate(keys):
            opened = corrections.OpenBackfillRequest(
                key=key,
                replaces_existing=True,
                reason="repair",
                subjects=["twice"],
                start_at=to_timestamp(SPAN[0]),
                end_at=to_timestamp(SPAN[1]),
            )
            with calm.channel(calm.members[0]) as channel:
                CorrectionServiceStub(channel).OpenBackfill(opened, timeout=CALL_TIMEOUT_S)
            calm.record(some_usage(f"load{turn}{number}", 0, LOADED, ["twice"]), backfill=key)
        with ExitStack() as closing, somebody_decides(calm):
            for process, key in zip(calm.followers(), keys, strict=True):
                closing.enter_context(beside(partial(close_backfill, calm, process, key), key))
            until(lambda: waiting_for_their_turn(calm) == 2, "both wait for their turn")
        head = calm.log().head
        said = [calm.ask(process, at_least=head, meter="calls").totals["twice"] for process in calm.members]
        assert said == [str(LOADED)] * len(calm.members)


def close_backfill(replicas: Replicas, process: ServiceProcess, key: str) -> None:
    request = corrections.CloseBackfillRequest(key=key, expected_count=LOADED, reason="repair")
    with replicas.channel(process) as channel:
        CorrectionServiceStub(channel).CloseBackfill(request, timeout=CALL_TIMEOUT_S)


@contextmanager
def somebody_decides(replicas: Replicas) -> Iterator[None]:
    """As though another replica were deciding about usage."""
    database = Database.open(replicas.fleet.tables, "aggregator", is_shared=True)
    try:
        with database.alone(DECIDING, CALL_TIMEOUT_S):
            yield
    finally:
        database.close()


def waiting_for_their_turn(replicas: Replicas) -> int:
    with psycopg.connect(replicas.fleet.tables) as server:
        waiting = server.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        (found,) = waiting.fetchone() or (0,)
    return int(found)


def test_the_pages_of_an_answer_may_come_from_any_replica(calm: Replicas) -> None:
    subjects = [f"page{number}" for number in range(9)]
    position = calm.record(some_usage("pages", 0, 90, subjects))
    request = api.QueryUsageRequest(
        meter="amount",
        start_at=to_timestamp(SPAN[0]),
        end_at=to_timestamp(SPAN[1]),
        subjects=subjects,
        group_by=["subject"],
        min_position=position,
        page_size=2,
    )
    found: dict[str, str] = {}
    positions = set()
    for number in count():
        with calm.channel(calm.members[number % len(calm.members)]) as channel:
            page = AggregatorServiceStub(channel).QueryUsage(request, timeout=CALL_TIMEOUT_S)
        positions.add(page.position)
        found |= {row.group["subject"]: row.value for row in page.rows}
        calm.record(some_usage("meanwhile", number, 1, subjects[:1]))
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    totals = Totals(calm.log()).at(*positions)
    assert {subject: Decimal(value) for subject, value in found.items()} == {each: totals[each] for each in subjects}


def test_who_recorded_reads_it_at_every_replica_by_the_position_of_the_answer(calm: Replicas) -> None:
    for number in range(5):
        position = calm.record(some_usage("mine", number, 1, ["mine"]))
        said = [calm.ask(process, at_least=position, meter="calls") for process in calm.members]
        assert [each.totals["mine"] for each in said] == [str(number + 1)] * len(calm.members)


def test_a_watch_at_a_replica_that_follows_hears_what_is_recorded(calm: Replicas) -> None:
    request = api.WatchUsageRequest(
        meter="calls", start_at=to_timestamp(SPAN[0]), end_at=to_timestamp(SPAN[1]), subjects=["watched"]
    )
    with calm.channel(calm.followers()[0]) as channel:
        responses = AggregatorServiceStub(channel).WatchUsage(request, timeout=CALL_TIMEOUT_S)
        next(responses)
        calm.record(some_usage("watched", 0, 5, ["watched"]))
        assert any(row.value == "5" for response in responses for row in response.rows)
        responses.cancel()


def test_a_replica_that_follows_tells_where_the_archive_stands(calm: Replicas) -> None:
    calm.record(some_usage("kept", 0, 5, ["kept"]))
    with calm.channel(calm.leader()) as channel:
        compact = UsageStorageServiceStub(channel).CompactUsageArchive
        archive = compact(storage.CompactUsageArchiveRequest(), timeout=CALL_TIMEOUT_S).archive
    assert archive.file_count
    assert not archive.problem
    for process in calm.followers():
        until(partial(tells, calm, process, archive), "the follower tells the same")


def tells(replicas: Replicas, process: ServiceProcess, archive: storage.UsageArchive) -> bool:
    with replicas.channel(process) as channel:
        stub = UsageStorageServiceStub(channel)
        return stub.GetUsageArchive(storage.GetUsageArchiveRequest(), timeout=CALL_TIMEOUT_S).archive == archive


def test_orders_for_the_one_that_folds_are_refused_elsewhere_by_its_name(calm: Replicas) -> None:
    leader = calm.leader()
    orders: tuple[Callable[[grpc.Channel], object], ...] = (
        lambda channel: list(
            ProjectionServiceStub(channel).RebuildProjection(
                projections.RebuildProjectionRequest(name="usage_windows", mode=projections.REBUILD_MODE_COMPARE_ONLY),
                timeout=CALL_TIMEOUT_S,
            )
        ),
        lambda channel: UsageStorageServiceStub(channel).CompactUsageArchive(
            storage.CompactUsageArchiveRequest(), timeout=CALL_TIMEOUT_S
        ),
        lambda channel: UsageStorageServiceStub(channel).CheckUsage(
            storage.CheckUsageRequest(), timeout=CALL_TIMEOUT_S
        ),
    )
    for process in calm.followers():
        for order in orders:
            with calm.channel(process) as channel, pytest.raises(grpc.RpcError) as refused:
                order(channel)
            assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
            assert f" {leader.pid})" in str(refused.value.details())


@pytest.mark.timeout(600)
def test_replicas_are_restarted_one_by_one_and_no_query_fails(calm: Replicas) -> None:
    said: list[Said] = []
    numbers = count(0, BATCH)

    def record() -> None:
        calm.record(some_usage("rolling", next(numbers), BATCH, ["rolling"]))
        Event().wait(PAUSE_S)

    def ask() -> None:
        said.append(ask_whoever_answers(calm, len(said)))

    with again_and_again(record, "recording"), again_and_again(ask, "asking"):
        for process in calm.members:
            asked = len(said)
            process.stop()
            assert process.ends[-1] == 0
            calm.start(process)
            assert len(said) > asked, "nobody answered while one was restarted"
    log = calm.log()
    sums = Totals(log)
    assert said
    for each in said:
        assert Decimal(each.totals.get("rolling", "0")) == sums.at(each.position).get("rolling", 0), each
    last = {Decimal(calm.ask(process, at_least=log.head).totals["rolling"]) for process in calm.members}
    assert last == {sums.at(log.head)["rolling"]}


def ask_whoever_answers(replicas: Replicas, first: int) -> Said:
    """As clients do behind one address of a service: UNAVAILABLE is repeated, at the next one; nothing else is."""
    Event().wait(PAUSE_S)
    numbers = count(first)
    return answered(lambda: replicas.ask(replicas.members[next(numbers) % len(replicas.members)]))
