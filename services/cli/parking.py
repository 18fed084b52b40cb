"""Events that projections set aside: shown, decided about, and folded in after an upgrade."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich.table import Table

from meterlog.common.v1 import projection_pb2 as projection
from services.cli.connection import Service
from services.cli.failure import CommandFailed
from services.cli.instants import timestamp_text
from services.cli.projections import projections_of

PAGE_SIZE: Final = 1_000
SHOWN_MAX: Final = 10_000
"""Events of one projection that are shown; a release that knows none of them is to be upgraded anyway."""


@dataclass(frozen=True, slots=True)
class Parked:
    """An event of the log that is not in a projection's tables. `state` is parked, stopping or skipped."""

    projection: str
    state: str
    position: int
    stream: str
    version: int
    type: str
    schema_version: int
    reason: str
    known: bool
    decided_by: str = ""
    decided_at: str = ""


def set_aside(service: Service, name: str) -> list[Parked]:
    """What waits for a decision: the event that stops the projection first, then those that are parked."""
    found: list[Parked] = []
    for page in _parked_pages(service, name):
        if page.HasField("stopping") and not found:
            found.append(_parked(name, "stopping", page.stopping))
        found += [_parked(name, "parked", event) for event in page.events]
        if len(found) >= SHOWN_MAX:
            break
    return found


def skipped(service: Service, name: str) -> list[Parked]:
    """What somebody decided to leave out, oldest decision first."""
    request = projection.ListSkippedEventsRequest(name=name, page_size=PAGE_SIZE)
    found: list[Parked] = []
    while len(found) < SHOWN_MAX:
        page = service.call(projections_of(service).ListSkippedEvents, request)
        found += [_skipped(name, event) for event in page.events]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    return found


def skip(service: Service, name: str, position: int, reason: str, decided_by: str) -> Parked:
    """Leave an event out for ever; returns the decision that holds."""
    request = projection.SkipParkedEventRequest(name=name, position=position, reason=reason, decided_by=decided_by)
    return _skipped(name, service.call(projections_of(service).SkipParkedEvent, request).skipped)


def require_retryable(service: Service, name: str) -> None:
    """Raises CommandFailed unless all that is parked, and something is, can be folded by the release that runs now."""
    parked = [event for event in set_aside(service, name) if event.state == "parked"]
    if not parked:
        raise CommandFailed(f'no event is parked in "{name}"; there is nothing to retry', reason="NOTHING_PARKED")
    unknown = next((event for event in parked if not event.known), None)
    if unknown is not None:
        raise CommandFailed(
            f'position {unknown.position} of "{name}" holds {unknown.type} version {unknown.schema_version}, which the '
            f"{service.name} service still does not know; upgrade it first, or skip the event",
            reason="UNKNOWN_EVENT_TYPE",
        )


def parked_table(events: Sequence[Parked]) -> Table:
    """One line an event."""
    table = Table()
    for name in ("projection", "state"):
        table.add_column(name, no_wrap=True)
    table.add_column("position", justify="right")
    for name in ("stream", "event", "why"):
        table.add_column(name, overflow="fold")
    for event in events:
        why = f"{event.reason} ({event.decided_by}, {event.decided_at})" if event.decided_at else event.reason
        table.add_row(
            event.projection,
            event.state,
            str(event.position),
            f"{event.stream} @{event.version}",
            f"{event.type} v{event.schema_version}",
            f"{why}; known by now: retry" if event.known and event.state == "parked" else why,
        )
    return table


def _parked_pages(service: Service, name: str) -> Iterator[projection.ListParkedEventsResponse]:
    request = projection.ListParkedEventsRequest(name=name, page_size=PAGE_SIZE)
    while True:
        page = service.call(projections_of(service).ListParkedEvents, request)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _parked(name: str, state: str, event: projection.ParkedEvent) -> Parked:
    return Parked(
        projection=name,
        state=state,
        position=event.position,
        stream=event.stream,
        version=event.version,
        type=event.type,
        schema_version=event.schema_version,
        reason=event.reason,
        known=event.known,
    )


def _skipped(name: str, event: projection.SkippedEvent) -> Parked:
    return Parked(
        projection=name,
        state="skipped",
        position=event.position,
        stream=event.stream,
        version=event.version,
        type=event.type,
        schema_version=event.schema_version,
        reason=event.reason,
        known=False,
        decided_by=event.decided_by or event.key_name,
        decided_at=timestamp_text(event.decided_at),
    )
