"""Three replicas of the aggregator under load: whoever leads is killed and frozen, and no answer is ever wrong."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from itertools import count
from pathlib import Path
from threading import Event

import grpc
import psycopg
import pytest

from meterlog.common.v1 import projection_pb2 as projections
from meterlog.common.v1.projection_pb2_grpc import ProjectionServiceStub
from meterlog.events.v1.meter_pb2 import UsagePeriodClosed
from tests.crash.metering.period_laws import period_violations, unsettled
from tests.crash.metering.plain_count import PlainCount
from tests.crash.metering.plain_log import PlainLog
from tests.crash.metering.service_process import ServiceProcess
from tests.replicas_room import (
    CALL_TIMEOUT_S,
    SUBJECTS,
    Replicas,
    Said,
    Totals,
    again_and_again,
    answered,
    some_usage,
    three_replicas,
    until,
)

KILLS, FREEZES = 3, 2
BATCH = 25
PAUSE_S = 0.1


def require_true(said: list[Said], totals: Totals) -> None:
    """Nothing is missed or counted twice in any answer, and none of a replica is older than one that it gave before."""
    latest: Counter[str] = Counter()
    for each in said:
        assert {subject: Decimal(value) for subject, value in each.totals.items()} == totals.at(each.position), each
        assert each.position >= latest[each.replica], each
        latest[each.replica] = each.position


class Asking:
    """Asks one replica all the time. One that is there answers: only who is away may fail."""

    def __init__(self, replicas: Replicas, process: ServiceProcess) -> None:
        self._replicas = replicas
        self._process = process
        self.said: list[Said] = []
        self.complaints: list[str] = []

    def once(self) -> None:
        was_away = self._process.name in self._replicas.away
        try:
            self.said.append(self._replicas.ask(self._process))
        except grpc.RpcError as error:
            if not (was_away or self._process.name in self._replicas.away):
                self.complaints.append(f"{self._process.name} is there and answers {error.code()}: {error.details()}")
        Event().wait(PAUSE_S)


def kill_the_leader(replicas: Replicas) -> None:
    """Another one folds before the one that was killed is started again."""
    leader = replicas.leader()
    replicas.away.add(leader.name)
    leader.kill()
    assert replicas.leader() is not leader
    replicas.start(leader)


def freeze_the_leader(replicas: Replicas) -> None:
    """It stands still while its sessions end and another one folds; when it goes on, it believes that it leads."""
    leader = replicas.leader()
    replicas.away.add(leader.name)
    pid = leader.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        with psycopg.connect(replicas.fleet.tables, autocommit=True) as server:
            ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s"
            assert server.execute(ended, [f"meterlog % {pid}"]).fetchall()
        other = replicas.leader()
        moved_on(replicas, other)
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: replicas.leader_of(leader).endswith(f" {other.pid}"), "the frozen one follows")
    answered(lambda: replicas.ask(leader))
    replicas.away.discard(leader.name)


def moved_on(replicas: Replicas, process: ServiceProcess) -> None:
    before = replicas.ask(process).position
    until(lambda: replicas.ask(process).position > before, f"{process.name} folds on")


@pytest.mark.timeout(600)
def test_whoever_leads_is_killed_and_frozen_and_every_answer_is_right_where_it_says_that_it_stands(
    tmp_path: Path,
) -> None:
    with three_replicas(tmp_path) as replicas:
        numbers = count(0, BATCH)
        asking = [Asking(replicas, process) for process in replicas.members]
        with ExitStack() as load:
            load.enter_context(again_and_again(lambda: record_on(replicas, numbers), "recording"))
            for each in asking:
                load.enter_context(again_and_again(each.once, "asking"))
            for harm in (kill_the_leader, freeze_the_leader) * FREEZES + (kill_the_leader,) * (KILLS - FREEZES):
                harm(replicas)
        log = replicas.log()
        last = [replicas.ask(process, at_least=log.head) for process in replicas.members]
        totals = Totals(replicas.log())
        for each, said in zip(asking, last, strict=True):
            assert each.complaints == []
            assert len(each.said) > KILLS + FREEZES
            require_true([*each.said, said], totals)
        assert all(said.totals == last[0].totals for said in last)
        require_rebuilt_equal(replicas)
        require_closed_once(replicas)


def record_on(replicas: Replicas, numbers: Iterator[int]) -> None:
    replicas.record(some_usage("load", next(numbers), BATCH))
    Event().wait(PAUSE_S)


def require_rebuilt_equal(replicas: Replicas) -> None:
    for name in ("usage_windows", "usage_periods"):
        request = projections.RebuildProjectionRequest(name=name, mode=projections.REBUILD_MODE_COMPARE_ONLY)
        with replicas.channel(replicas.leader()) as channel:
            *_, last = ProjectionServiceStub(channel).RebuildProjection(request, timeout=CALL_TIMEOUT_S)
        assert last.comparison.equal, last.comparison


def require_closed_once(replicas: Replicas) -> None:
    """Each subject's month is closed once, and at last its statements say what the log says."""

    def settled() -> PlainLog | None:
        log = replicas.log()
        return None if unsettled(log, PlainCount(log)) else log

    log = until(settled, "every period is closed, and restated where it changed")
    assert period_violations(log, PlainCount(log), 1) == []
    closed = [type(event) for events in log.periods.values() for _, event in events].count(UsagePeriodClosed)
    assert closed == len(SUBJECTS)
