"""Bugs planted on purpose, in the processes under test only: the harness is worth its name when it catches each."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from tests.crash import planting
from tests.crash.law import Law
from tests.crash.metering import planting as metering


class Stage(StrEnum):
    """In which kind of trial a bug shows, every time."""

    STORM = "a storm"
    KILLED_WHILE_WRITING = "killed at pwrite64"
    KILLED_WHILE_SYNCING = "killed at fdatasync"
    DISK_FAILS = "EIO at pwrite64"
    POWER_CUT = "a power cut"
    ANSWERS_LOST = "error at append.after_commit"
    KILLED_WHILE_FOLDING = "killed while folding"
    METERING = "a metering storm"


@dataclass(frozen=True, slots=True)
class SeededBug:
    """A bug, what it stands for, the laws of which it must break one at least, and where it is found out."""

    plant: Callable[[], None]
    stands_for: str
    breaks: frozenset[Law]
    stage: Stage = Stage.STORM
    service: str = ""
    """The service that it is planted in, in a metering storm; `aggregators`: three replicas, which is each of them."""
    points: tuple[str, ...] = ()
    """The failpoints at which that service is killed, with the passage; none: it lives."""


def plant(name: str) -> None:
    """Put a bug into this process."""
    SEEDED_BUGS[name].plant()


SEEDED_BUGS: dict[str, SeededBug] = {
    "ack_before_commit": SeededBug(
        planting.acknowledge_before_commit,
        "answers that are sent before the commit",
        frozenset({Law.KEPT}),
        Stage.KILLED_WHILE_WRITING,
    ),
    "no_lock": SeededBug(
        planting.no_lock, "writers that do not exclude each other", frozenset({Law.KEPT, Law.CHAIN, Law.POSITIONS})
    ),
    "checkpoint_in_second_transaction": SeededBug(
        planting.checkpoint_in_a_second_transaction,
        "a projection that folds again what it folded",
        frozenset({Law.PROJECTION}),
        Stage.KILLED_WHILE_FOLDING,
    ),
    "rechunked_retry": SeededBug(
        planting.repeat_in_other_chunks,
        "a client that repeats an append with other neighbours",
        frozenset({Law.ONCE}),
        Stage.ANSWERS_LOST,
    ),
    "repeats_known_in_memory_only": SeededBug(
        planting.repeats_known_in_memory_only,
        "a cache of recent ids in place of a look into the log",
        frozenset({Law.REFUSED_STAYS_OUT}),
        Stage.KILLED_WHILE_SYNCING,
    ),
    "subscription_one_too_far": SeededBug(
        planting.subscription_one_too_far, "arithmetic on a position", frozenset({Law.NO_SKIP})
    ),
    "subscription_delivers_again": SeededBug(
        planting.subscription_delivers_again, "a subscription that includes its start", frozenset({Law.NO_REPEAT})
    ),
    "one_transaction_an_event": SeededBug(
        planting.one_transaction_an_event,
        "an append that is not one transaction",
        frozenset({Law.WHOLE}),
        Stage.KILLED_WHILE_WRITING,
    ),
    "failed_commit_taken_for_done": SeededBug(
        planting.failed_commit_taken_for_done, "an error that is swallowed", frozenset({Law.KEPT}), Stage.DISK_FAILS
    ),
    "no_sync": SeededBug(
        planting.no_sync, "commits that are not synced to the disk", frozenset({Law.KEPT}), Stage.POWER_CUT
    ),
    "answers_mixed_up": SeededBug(
        planting.answers_mixed_up, "a group commit that loses count", frozenset({Law.IN_PLACE}), Stage.STORM
    ),
    "archive_position_in_second_transaction": SeededBug(
        metering.archive_position_in_a_second_transaction,
        "files that are listed before the archive's position is moved",
        frozenset({Law.ARCHIVE}),
        Stage.METERING,
        "aggregator",
        ("archive.before_commit@1",),
    ),
    "manifest_before_its_run": SeededBug(
        metering.manifest_before_its_run,
        "a manifest of the dedupe index that names what is not written yet",
        frozenset({Law.OUTLIVES}),
        Stage.METERING,
        "ingest",
        ("index.before_spill@1",),
    ),
    "newest_forgotten": SeededBug(
        metering.newest_forgotten,
        "a dedupe index whose checkpoint is ahead of what is on the disk",
        frozenset({Law.ONCE, Law.DEDUPE}),
        Stage.METERING,
        "ingest",
        ("index.after_commit@8",),
    ),
    "recount_without_deleting": SeededBug(
        metering.recount_without_deleting,
        "a fold that counts corrected hours on top of what was counted",
        frozenset({Law.WINDOWS, Law.PROJECTION}),
        Stage.METERING,
        "aggregator",
    ),
    "two_fold": SeededBug(
        metering.two_fold,
        "replicas that fold at the same time",
        frozenset({Law.WINDOWS, Law.PROJECTION}),
        Stage.METERING,
        "aggregators",
    ),
    "windows_checkpoint_in_second_transaction": SeededBug(
        planting.checkpoint_in_a_second_transaction,
        "hours that are folded again after a kill",
        frozenset({Law.WINDOWS, Law.PROJECTION}),
        Stage.METERING,
        "aggregator",
        ("fold.before_commit@12",),
    ),
    "corrections_not_noted": SeededBug(
        metering.corrections_not_noted,
        "closed periods that do not hear of corrections",
        frozenset({Law.PERIODS}),
        Stage.METERING,
        "aggregator",
    ),
    "reverted_for_ever": SeededBug(
        metering.reverted_for_ever,
        "an answer of the past that knows the future",
        frozenset({Law.WINDOWS}),
        Stage.METERING,
        "aggregator",
    ),
}
"""Every bug, by the name that `--bug` takes."""
