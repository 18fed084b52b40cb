"""The archive of usage and its checks as values, and the calls that ask for them, compact and check."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from meterlog.aggregator.v1 import storage_pb2
from meterlog.client.errors import WrongValue
from meterlog.client.instant import instant_of
from meterlog.client.question import Question, storage_question


@dataclass(frozen=True, slots=True)
class UsageArchive:
    """Where the copy of usage in columns stands: files at `url`, written up to log position `position`.

    `first_day` is the earliest day that is kept, None when all are; `problem` says what is wrong, "" while all is well.
    """

    url: str
    position: int
    file_count: int
    usage_event_count: int
    size_bytes: int
    first_day: date | None
    problem: str


@dataclass(frozen=True, slots=True)
class Compaction:
    """The archive after it was brought up to date, and how many files were merged or dropped for that."""

    archive: UsageArchive
    removed_file_count: int


@dataclass(frozen=True, slots=True)
class UsageDifference:
    """A meter, customer, hour and group whose state is not what the log says; values are empty where there is none."""

    meter: str
    subject: str
    hour_at: datetime
    group: Mapping[str, str]
    held_value: str
    recounted_value: str


@dataclass(frozen=True, slots=True)
class UsageCheck:
    """One count of the log by another way; `differences` are at most 1,000 of `difference_count`."""

    position: int
    seed: int
    checked_count: int
    usage_event_count: int
    differences: tuple[UsageDifference, ...]
    difference_count: int
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class CheckRecord:
    """What all checks of one process found since its start; `last` is None before the first."""

    last: UsageCheck | None
    checked_count: int
    difference_count: int


def usage_archive() -> Question[UsageArchive]:
    """Where the archive stands."""
    request = storage_pb2.GetUsageArchiveRequest()
    return storage_question(
        "GetUsageArchive", request, storage_pb2.GetUsageArchiveResponse, lambda answer: _archive(answer.archive)
    )


def compact_usage_archive() -> Question[Compaction]:
    """Bring the archive up to date."""
    return storage_question(
        "CompactUsageArchive",
        storage_pb2.CompactUsageArchiveRequest(),
        storage_pb2.CompactUsageArchiveResponse,
        lambda answer: Compaction(_archive(answer.archive), answer.removed_file_count),
    )


def check_usage(samples: int | None, seed: int) -> Question[UsageCheck]:
    """Count so many samples anew, or everything for None; raises WrongValue."""
    if samples is not None and samples < 1:
        raise WrongValue(f"samples are {samples}; check at least 1, or None for everything")
    request = storage_pb2.CheckUsageRequest(samples=samples or 0, all=samples is None, seed=seed)
    return storage_question("CheckUsage", request, storage_pb2.CheckUsageResponse, lambda answer: _check(answer.check))


def usage_check() -> Question[CheckRecord]:
    """What the checks found."""
    return storage_question(
        "GetUsageCheck", storage_pb2.GetUsageCheckRequest(), storage_pb2.GetUsageCheckResponse, _record
    )


def _archive(archive: storage_pb2.UsageArchive) -> UsageArchive:
    return UsageArchive(
        url=archive.url,
        position=archive.position,
        file_count=archive.file_count,
        usage_event_count=archive.usage_event_count,
        size_bytes=archive.size_bytes,
        first_day=date.fromisoformat(archive.first_day) if archive.first_day else None,
        problem=archive.problem,
    )


def _record(answer: storage_pb2.GetUsageCheckResponse) -> CheckRecord:
    last = _check(answer.last) if answer.HasField("last") else None
    return CheckRecord(last, answer.checked_count, answer.difference_count)


def _check(check: storage_pb2.UsageCheck) -> UsageCheck:
    return UsageCheck(
        position=check.position,
        seed=check.seed,
        checked_count=check.checked_count,
        usage_event_count=check.usage_event_count,
        differences=tuple(map(_difference, check.differences)),
        difference_count=check.difference_count,
        started_at=instant_of(check.started_at),
        ended_at=instant_of(check.ended_at),
    )


def _difference(found: storage_pb2.UsageDifference) -> UsageDifference:
    return UsageDifference(
        meter=found.meter,
        subject=found.subject,
        hour_at=instant_of(found.hour_at),
        group=dict(found.group),
        held_value=found.held_value,
        recounted_value=found.recounted_value,
    )
