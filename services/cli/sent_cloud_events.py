"""CloudEvents that are sent in one request, and what became of each of them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.table import Table

from meterlog.client.cloud_event import CLOUD_EVENT_BYTES_MAX, json_batch
from meterlog.client.sending import EVENTS_PER_REQUEST_MAX
from meterlog.ingest.v1 import ingest_pb2 as ingest
from services.cli.failure import misused
from services.cli.importing.cloud_event_rows import CloudEventRow
from services.cli.importing.row import BrokenRow
from services.cli.listing import count_text
from services.cli.message_document import enum_text, message_document

OUTCOMES: Final = ("recorded", "duplicate", "conflict", "invalid", "not_recorded")
_IN_LOG: Final = ("recorded", "duplicate")

_FEWER: Final = "; send less at once, or `meterlog import` a file of any size"


@dataclass(frozen=True, slots=True)
class EventOutcome:
    """What became of one CloudEvent, or of what stands in its place, on a line of the file."""

    line: int
    source: str
    id: str
    outcome: str
    position: int = 0
    reason: str = ""
    field: str = ""
    message: str = ""

    def document(self) -> dict[str, Any]:
        """As a JSON value."""
        return {name: getattr(self, name) for name in self.__slots__}


def taken(rows: Iterable[CloudEventRow | BrokenRow]) -> tuple[list[CloudEventRow], list[BrokenRow]]:
    """Those that can be sent, and the others; raises CommandFailed for more than a request holds."""
    events: list[CloudEventRow] = []
    broken: list[BrokenRow] = []
    size = 0
    for row in rows:
        if isinstance(row, BrokenRow):
            broken.append(row)
        else:
            events.append(row)
            size += len(row.text.encode()) + 1
        if len(events) + len(broken) > EVENTS_PER_REQUEST_MAX:
            raise misused(f"more than {EVENTS_PER_REQUEST_MAX} CloudEvents{_FEWER}")
        if size > CLOUD_EVENT_BYTES_MAX:
            raise misused(f"more than {CLOUD_EVENT_BYTES_MAX} bytes of CloudEvents{_FEWER}")
    return events, broken


def request_of(events: Sequence[CloudEventRow], *, atomic: bool, backfill: str) -> ingest.RecordCloudEventsRequest:
    """The request that records them."""
    batch = json_batch([event.text for event in events], [event.name for event in events])
    return batch.request(atomic=atomic, backfill=backfill)


def outcomes(
    events: Sequence[CloudEventRow], results: Sequence[ingest.UsageResult], broken: Sequence[BrokenRow]
) -> list[EventOutcome]:
    """One for each line, in the order of the file."""
    return sorted((*_answered(events, results), *map(_unread, broken)), key=lambda each: each.line)


def is_clean(found: Iterable[EventOutcome]) -> bool:
    """Whether every one is in the log."""
    return all(each.outcome in _IN_LOG for each in found)


def outcomes_document(found: Sequence[EventOutcome], receipts: Iterable[ingest.Receipt]) -> dict[str, Any]:
    """All of it as JSON values."""
    counts = Counter(each.outcome for each in found)
    return {
        **{name: counts[name] for name in OUTCOMES},
        "results": [each.document() for each in found],
        "receipts": [message_document(receipt) for receipt in receipts],
    }


def outcomes_table(found: Iterable[EventOutcome]) -> Table:
    """One line a CloudEvent."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for each in found:
        where = f"position {each.position}" if each.position else ""
        why = " ".join(part for part in (each.field, each.reason, each.message) if part)
        table.add_row(f"line {each.line}", each.source, each.id, each.outcome.replace("_", " "), where, why)
    return table


def outcomes_text(found: Sequence[EventOutcome]) -> str:
    """ "3 CloudEvents: 2 recorded, 0 duplicates, 0 conflicts, 1 invalid"; those of no atomic request are left out."""
    counts = Counter(each.outcome for each in found)
    told = (
        f"{counts['recorded']} recorded",
        count_text(counts["duplicate"], "duplicate"),
        count_text(counts["conflict"], "conflict"),
        f"{counts['invalid']} invalid",
        *([f"{counts['not_recorded']} not recorded"] if counts["not_recorded"] else []),
    )
    return f"{count_text(len(found), 'CloudEvent')}: {', '.join(told)}"


def _answered(events: Sequence[CloudEventRow], results: Sequence[ingest.UsageResult]) -> Iterator[EventOutcome]:
    for event, result in zip(events, results, strict=True):
        yield EventOutcome(
            event.line,
            _shown(event.name.source),
            _shown(event.name.id),
            enum_text(ingest.UsageOutcome.DESCRIPTOR, result.outcome),
            result.position,
            result.reason,
            result.field,
            result.message,
        )


def _unread(row: BrokenRow) -> EventOutcome:
    problem = row.problem
    return EventOutcome(
        problem.line, "", "", "invalid", reason=problem.reason, field=problem.field, message=problem.message
    )


def _shown(text: str) -> str:
    """A name from outside, in which nothing steers a terminal, nor is half a character."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
