"""Invoice numbers without gaps: the number is the event's version in its series plus one.

A number is appended before its invoice is finalized. An invoice that has a number keeps it, so a crash between the two
appends, or two workers at once, neither skip a number nor give an invoice two.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from meterlog.events.v1.invoice_pb2 import InvoiceNumberAssigned
from services.eventstore.catalogue import decode, encode
from services.eventstore.event import StreamName, WrongExpectedVersion
from services.eventstore.store import READ_LIMIT_MAX, EventStore
from services.kernel.errors import Conflict, InvalidInput

CATEGORY = "invoicenumber"
ASSIGN_ATTEMPTS_MAX = 20
NUMBER_DIGITS = 6

_SERIES = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9/_-]{0,30}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class KnownNumbers:
    """What has been read of a series: the invoice's number, if it has one, and how many events were looked through."""

    number: str
    events: int


def require_series(text: str, field: str) -> str:
    """`text`, when it can name a series of invoice numbers; raises InvalidInput."""
    if _SERIES.fullmatch(text) is None:
        raise InvalidInput(
            f'{field} is "{text[:40]}"; use 1 to 32 letters, digits, "-", "_" or "/", first and last no sign',
            field=field,
            reason="BAD_SETTING",
        )
    return text


def series_stream(series: str) -> StreamName:
    """The stream of a series."""
    return StreamName(CATEGORY, series)


def number_text(series: str, version: int) -> str:
    """The number as printed, such as "INV-000001" for version 0."""
    return f"{series}-{version + 1:0{NUMBER_DIGITS}d}"


def assign_number(store: EventStore, series: str, invoice_id: str, known: KnownNumbers, now: datetime) -> str:
    """The invoice's number: the one it has, or the next of the series.

    `known` may lag behind the log: its tail is read before each attempt. Raises Conflict when ASSIGN_ATTEMPTS_MAX
    attempts were lost to others.
    """
    if known.number:
        return known.number
    stream = series_stream(series)
    version = known.events
    for _ in range(ASSIGN_ATTEMPTS_MAX):
        tail = _assigned_from(store, stream, version)
        mine = next((assigned.number for assigned in tail if assigned.invoice_id == invoice_id), None)
        if mine is not None:
            return mine
        version += len(tail)
        number = number_text(series, version)
        assigned = InvoiceNumberAssigned(invoice_id=invoice_id, number=number)
        try:
            store.append(stream, [encode(assigned, stream, version, now)], version - 1)
        except WrongExpectedVersion:
            continue
        return number
    raise Conflict(f'the series "{series}" is contended; repeat later')


def _assigned_from(store: EventStore, stream: StreamName, version: int) -> list[InvoiceNumberAssigned]:
    tail: list[InvoiceNumberAssigned] = []
    while True:
        page = store.read_stream(stream, from_version=version + len(tail), limit=READ_LIMIT_MAX)
        tail.extend(cast(InvoiceNumberAssigned, decode(recorded)) for recorded in page)
        if len(page) < READ_LIMIT_MAX:
            return tail
