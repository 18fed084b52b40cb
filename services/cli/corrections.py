"""Corrections and backfills, as the commands decide and show them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rich.table import Table

from meterlog.aggregator.v1 import correction_pb2 as correction
from meterlog.client.condition import condition_of, condition_text
from services.cli.choice import Choice
from services.cli.connection import Services
from services.cli.instants import timestamp_text
from services.cli.listing import NOTHING, count_text, listing, properties_text
from services.cli.message_document import enum_text
from services.cli.paging import PAGE_SIZE, every_page
from services.cli.refusal import CallFailed

DECISION_TIMEOUT_S: Final = 600.0
"""What is decided is looked for in all usage before it is."""

TOTALS_SHOWN_MAX: Final = 20

_MILLIONTHS_PER_PERCENT: Final = 10_000


def preview_cancellation(services: Services, choice: Choice) -> correction.PreviewCancellationResponse:
    """What cancelling these would do."""
    request = correction.PreviewCancellationRequest(names=choice.names, filter=choice.filter)
    return services.aggregator.call(services.corrections.PreviewCancellation, request, DECISION_TIMEOUT_S)


def get_correction(services: Services, key: str) -> correction.Correction:
    """The correction of that key; raises CallFailed."""
    request = correction.GetCorrectionRequest(key=key)
    return services.aggregator.call(services.corrections.GetCorrection, request).correction


def decided_cancellation(services: Services, key: str) -> correction.Correction | None:
    """The cancellation that was decided under a key; None when there is none. Raises CallFailed."""
    try:
        found = get_correction(services, key)
    except CallFailed as failed:
        if failed.code.name != "NOT_FOUND":
            raise
        return None
    return found if found.is_cancellation else None


def list_corrections(services: Services) -> list[correction.Correction]:
    """All corrections, newest first."""

    def fetch(token: str) -> tuple[Iterable[correction.Correction], str]:
        request = correction.ListCorrectionsRequest(page_size=PAGE_SIZE, page_token=token)
        response = services.aggregator.call(services.corrections.ListCorrections, request)
        return response.corrections, response.next_page_token

    return list(every_page(fetch))


def list_backfills(services: Services) -> list[correction.Backfill]:
    """All backfills, newest first."""

    def fetch(token: str) -> tuple[Iterable[correction.Backfill], str]:
        request = correction.ListBackfillsRequest(page_size=PAGE_SIZE, page_token=token)
        response = services.aggregator.call(services.corrections.ListBackfills, request)
        return response.backfills, response.next_page_token

    return list(every_page(fetch))


def preview_text(preview: correction.PreviewCancellationResponse) -> str:
    """What would be hit, in a sentence."""
    whole, rest = divmod(preview.share_millionths, _MILLIONTHS_PER_PERCENT)
    times = (
        f", from {timestamp_text(preview.first_at)} to {timestamp_text(preview.last_at)}"
        if preview.usage_event_count
        else ""
    )
    return (
        f"{count_text(preview.usage_event_count, 'usage event')} ({whole}.{rest:04} % of all) "
        f"of {count_text(preview.subject_count, 'customer')}{times}; "
        f"{count_text(preview.closed_period_count, 'closed period')} would be restated. "
        f"To decide so: --expect {preview.usage_event_count} --until {preview.position}"
    )


def totals_table(totals: Sequence[correction.TotalChange]) -> Table:
    """The totals that would change; the first TOTALS_SHOWN_MAX of them."""
    rows = [
        (
            each.meter,
            each.subject,
            each.old_value if each.HasField("old_value") else NOTHING,
            each.new_value if each.HasField("new_value") else NOTHING,
        )
        for each in totals[:TOTALS_SHOWN_MAX]
    ]
    if more := len(totals) - len(rows):
        rows.append((f"and {more} more", "", "", ""))
    return listing(("meter", "customer", "now#", "then#"), rows)


def corrections_table(corrections: Iterable[correction.Correction]) -> Table:
    """One line a correction."""
    rows = [
        (
            each.key,
            f"{'cancels' if each.is_cancellation else 'amends'} {_what(each)}",
            str(each.usage_event_count),
            _who(each.decision) + (f"\nreverted: {_who(each.reverted)}" if each.HasField("reverted") else ""),
        )
        for each in corrections
    ]
    return listing(("key", "what", "usage events#", "why"), rows)


def backfills_table(backfills: Iterable[correction.Backfill]) -> Table:
    """One line a backfill."""
    rows = [
        (
            each.key,
            enum_text(correction.BackfillState.DESCRIPTOR, each.state),
            _backfill_text(each),
            str(each.loaded_count),
            str(each.replaced_count),
            "\n".join(_decisions(each)),
        )
        for each in backfills
    ]
    return listing(("key", "state", "what", "loaded#", "replaced#", "why"), rows)


def _decisions(backfill: correction.Backfill) -> Iterator[str]:
    yield _who(backfill.opened)
    if backfill.HasField("closed"):
        yield f"closed: {_who(backfill.closed)}"
    if backfill.HasField("reverted"):
        yield f"reverted: {_who(backfill.reverted)}"


def _backfill_text(backfill: correction.Backfill) -> str:
    parts = ["replaces" if backfill.replaces_existing else "adds"]
    if backfill.HasField("start_at"):
        parts.append(f"from {timestamp_text(backfill.start_at)}")
    if backfill.HasField("end_at"):
        parts.append(f"to {timestamp_text(backfill.end_at)}")
    for name, texts in (("customer", backfill.subjects), ("type", backfill.types)):
        parts += [f"{name} {', '.join(texts)}"] if texts else []
    return " ".join(parts)


def _what(each: correction.Correction) -> str:
    if each.names:
        named = ", ".join(f"{name.source} {name.id}" for name in each.names[:3])
        chosen = named if len(each.names) <= 3 else f"{named} and {len(each.names) - 3} more"
    else:
        chosen = _filter_text(each.filter)
    changes = [f"value {each.value}"] if each.HasField("value") else []
    if each.HasField("properties"):
        changes.append(properties_text(each.properties.properties.items()) or "no properties")
    return chosen if not changes else f"{chosen} → {', '.join(changes)}"


def _filter_text(chosen: correction.UsageFilter) -> str:
    parts = [f"meter {chosen.meter}"] if chosen.meter else []
    for name, texts in (("type", chosen.types), ("customer", chosen.subjects), ("source", chosen.sources)):
        parts += [f"{name} {', '.join(texts)}"] if texts else []
    for name, has, at in (
        ("from", chosen.HasField("start_at"), chosen.start_at),
        ("to", chosen.HasField("end_at"), chosen.end_at),
        ("recorded from", chosen.HasField("recorded_from"), chosen.recorded_from),
        ("recorded until", chosen.HasField("recorded_until"), chosen.recorded_until),
    ):
        parts += [f"{name} {timestamp_text(at)}"] if has else []
    return "; ".join([*parts, *(condition_text(condition_of(each)) for each in chosen.conditions)])


def _who(decision: correction.CorrectionDecision) -> str:
    who = decision.decided_by or decision.key_name
    return f"{decision.reason} ({who}, {timestamp_text(decision.decided_at)})".replace("(, ", "(")
