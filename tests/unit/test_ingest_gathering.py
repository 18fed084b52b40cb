"""Few rows wait for company, longer while it comes; time passes only where the event loop would have waited."""

import asyncio
import selectors
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest

from services.ingest.digests import KEY
from services.ingest.group import Group
from services.ingest.joined_usage import Usage, joined
from services.ingest.partition_writer import GATHER_S_MAX, GROUP_ROWS_ENOUGH, PartitionWriter
from services.ingest.recording import Commitment, Outcome, Recording
from services.ingest.validate import validate
from services.kernel.clock import epoch_us
from tests.ingest_room import NOON, usage

GATHER_S = 0.002
Submit = Callable[..., None]


class SkippedTime(selectors.DefaultSelector):
    """Instead of waiting, the time is later."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing is left to wait for"
        self.now_s += max(0.0, timeout)
        return super().select(0)


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits."""

    def __init__(self) -> None:
        self._skipped = SkippedTime()
        super().__init__(self._skipped)

    def time(self) -> float:
        return self._skipped.now_s


def groups(story: Callable[[Submit], None], gather_s: float = GATHER_S) -> list[tuple[int, int]]:
    """What is recorded when `story` is: the millisecond, and the rows of each group."""
    recorded: list[tuple[int, int]] = []

    def prepared(parts: Sequence[Usage], commitment: Commitment) -> Group:
        batch = joined(parts)
        keys = np.zeros(batch.num_rows, KEY)
        keys["hi"] = np.arange(batch.num_rows)
        return Group(batch, keys, np.zeros(batch.num_rows, np.uint64), commitment)

    async def record(group: Group) -> Recording:
        recorded.append((round(asyncio.get_running_loop().time() * 1_000), len(group)))
        return Recording(np.full(len(group), Outcome.RECORDED, np.uint8), np.zeros(len(group), np.int64), ())

    async def told() -> None:
        writer = PartitionWriter(prepared, record, gather_s)
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[Recording]] = []

        def submit(at_ms: float, rows: int = 1, commitment: Commitment = Commitment.EACH) -> None:
            loop.call_at(at_ms / 1_000, lambda: answers.append(writer.submit(usage_rows(rows), commitment)))

        story(submit)
        last = loop.create_future()
        loop.call_at(1.0, last.set_result, None)
        await last
        assert all(answer.done() for answer in answers)

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(told())
    return recorded


def usage_rows(count: int) -> Usage:
    return validate([usage(f"e-{row}") for row in range(count)], epoch_us(NOON)).usage


def test_a_lone_usage_event_waits_once() -> None:
    assert groups(lambda submit: submit(0)) == [(2, 1)]


def test_callers_that_are_all_there_wait_no_longer_than_one() -> None:
    def story(submit: Submit) -> None:
        for _ in range(64):
            submit(0)

    assert groups(story) == [(2, 64)]


def test_while_company_comes_the_group_waits_on() -> None:
    def story(submit: Submit) -> None:
        for at_ms in (0, 1, 3, 5):
            submit(at_ms)

    assert groups(story) == [(8, 4)]


def test_however_much_comes_a_group_waits_no_longer_than_it_may() -> None:
    def story(submit: Submit) -> None:
        for at_ms in range(30):
            submit(at_ms)

    found = groups(story)

    assert sum(rows for _, rows in found) == 30
    assert found[0][0] == round(GATHER_S_MAX * 1_000)
    assert all(later - earlier <= 1 + GATHER_S_MAX * 1_000 for (earlier, _), (later, _) in pairwise(found))


def test_as_many_rows_as_are_worth_a_commit_wait_for_nobody() -> None:
    assert groups(lambda submit: submit(0, GROUP_ROWS_ENOUGH)) == [(0, GROUP_ROWS_ENOUGH)]


def test_rows_that_become_enough_while_they_wait_are_recorded_at_once() -> None:
    def story(submit: Submit) -> None:
        submit(0)
        submit(1, GROUP_ROWS_ENOUGH)

    assert groups(story) == [(1, 1 + GROUP_ROWS_ENOUGH)]


@pytest.mark.parametrize("commitment", [Commitment.ALL, Commitment.NONE])
def test_an_atomic_batch_waits_for_no_company_because_it_takes_none(commitment: Commitment) -> None:
    assert groups(lambda submit: submit(0, 1, commitment)) == [(0, 1)]


def test_a_writer_that_gathers_for_long_already_waits_no_longer_than_before() -> None:
    def story(submit: Submit) -> None:
        submit(0)
        submit(4)

    assert groups(story, gather_s=GATHER_S_MAX) == [(round(GATHER_S_MAX * 1_000), 2)]
