"""The dedupe index against a plain dict: folds, restarts, kills between file and manifest, full disks, merges."""

import shutil
import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.ingest import index_merge, index_run_writer, index_runs
from services.ingest.dedupe_index import DedupeIndex
from services.ingest.index_entries import IndexBroken
from services.ingest.index_limits import IndexLimits
from services.ingest.index_merger import Merger
from tests.dedupe_entries import Entry, fold_of, found, opened

PARTITIONS = 2
NUMBERS = st.integers(0, 400)
ADDED = st.lists(NUMBERS, max_size=40)
LIMITS = st.builds(
    IndexLimits,
    spill_keys=st.sampled_from([1, 10, 60]),
    spill_folds=st.sampled_from([1, 3, 20]),
    merge_runs=st.sampled_from([2, 3]),
)


class Killed(Exception):
    """Stands for the end of the process at a failpoint."""


class DedupeIndexModel(RuleBasedStateMachine):
    """The log is a list of folds for each partition; a partition's keys are its own. Merges happen when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.index: DedupeIndex
        self.folder = Path(tempfile.mkdtemp())
        self.logs: list[list[list[int]]] = [[] for _ in range(PARTITIONS)]
        self.patches = mock.patch.multiple(Merger, start=mock.DEFAULT), mock.patch.object(index_merge, "PART_ROWS", 3)
        for patch in self.patches:
            patch.start()

    @initialize(limits=LIMITS)
    def open(self, limits: IndexLimits) -> None:
        self.limits = limits
        self.boot = 0
        self.reopen()

    @rule(partition=st.integers(0, PARTITIONS - 1), numbers=ADDED)
    def append_and_fold(self, partition: int, numbers: list[int]) -> None:
        self.logs[partition].append([number * PARTITIONS + partition for number in numbers])
        self.catch_up()

    @rule(partition=st.integers(0, PARTITIONS - 1), numbers=ADDED)
    def append_through_another_replica(self, partition: int, numbers: list[int]) -> None:
        self.logs[partition].append([number * PARTITIONS + partition for number in numbers])

    @rule()
    def catch_up(self) -> None:
        for partition, log in enumerate(self.logs):
            for version in range(self.index.version(partition) + 1, len(log)):
                assert self.index.fold(partition, fold_of(version, log[version], content=version))

    @rule()
    def merge(self) -> None:
        self.index._runs.merge(lambda: False)

    @rule()
    def merge_and_be_stopped(self) -> None:
        turns = iter([False, True])
        self.index._runs.merge(lambda: next(turns, True))

    @rule()
    def close_and_open(self) -> None:
        self.index.close()
        self.boot += 1
        self.reopen()

    @rule()
    def kill(self) -> None:
        self.index.abandon()
        self.reopen()

    @rule(point=st.sampled_from(["index.before_spill", "index.before_merge", "index.after_merge"]))
    def kill_at(self, point: str) -> None:
        def fail_at(name: str) -> None:
            if name == point:
                raise Killed

        with mock.patch.object(index_runs, "fail_at", fail_at):
            try:
                self.catch_up()
                self.index._runs.merge(lambda: False)
            except Killed:
                self.kill()

    @rule()
    def fill_the_disk(self) -> None:
        with mock.patch.object(index_run_writer, "_write_all", side_effect=OSError(28, "No space left on device")):
            try:
                self.catch_up()
                self.index._runs.merge(lambda: False)
            except IndexBroken:
                self.kill()

    @precondition(lambda self: hasattr(self, "index"))
    @invariant()
    def is_what_the_log_says(self) -> None:
        expected: dict[int, Entry] = {}
        for partition, log in enumerate(self.logs):
            for version in range(self.index.version(partition) + 1):
                for number in log[version]:
                    expected.setdefault(number, (version, version + 1))
        assert found(self.index, range(401 * PARTITIONS)) == expected

    def reopen(self) -> None:
        self.index = opened(self.folder, f"boot {self.boot}", self.limits)

    def teardown(self) -> None:
        if hasattr(self, "index"):
            self.require_the_digest_of_a_rebuild()
        for patch in self.patches:
            patch.stop()
        shutil.rmtree(self.folder)

    def require_the_digest_of_a_rebuild(self) -> None:
        self.catch_up()
        folder = Path(tempfile.mkdtemp())
        rebuilt = opened(folder, limits=IndexLimits())
        for partition, log in enumerate(self.logs):
            for version, numbers in enumerate(log):
                rebuilt.fold(partition, fold_of(version, numbers, content=version))
        assert self.index.digest() == rebuilt.digest()
        rebuilt.abandon()
        self.index.abandon()
        shutil.rmtree(folder)


TestDedupeIndexModel = DedupeIndexModel.TestCase
TestDedupeIndexModel.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
