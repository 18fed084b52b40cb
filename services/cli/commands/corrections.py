"""`meterlog corrections`: preview and cancel usage, amend it, revert that, and see who decided what."""

import os
from typing import Annotated

import typer

from meterlog.aggregator.v1 import aggregator_pb2 as aggregator
from meterlog.aggregator.v1 import correction_pb2 as correction
from services.cli.choice import Choice, TypedChoice, choice_of
from services.cli.commands.counting import Wait
from services.cli.commands.decision_options import (
    Customers,
    DecidedBy,
    End,
    Ids,
    MeterName,
    Reason,
    RecordedFrom,
    RecordedUntil,
    Sources,
    Start,
    Types,
    Where,
    Zone,
)
from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.connection import Services, connected
from services.cli.corrections import (
    DECISION_TIMEOUT_S,
    corrections_table,
    decided_cancellation,
    get_correction,
    list_corrections,
    preview_cancellation,
    preview_text,
    totals_table,
)
from services.cli.counting import wait_until_counted
from services.cli.failure import CommandFailed, misused
from services.cli.listing import count_text
from services.cli.message_document import message_document
from services.cli.screen import Screen

corrections_app = typer.Typer(help="Cancel or amend recorded usage, and revert that. Nothing recorded is lost.")

Key = Annotated[str, typer.Argument(help="Key of the correction, chosen by you; a repeat is answered as the first.")]


@corrections_app.command("preview")
def preview_command(
    ids: Ids = None,
    sources: Sources = None,
    meter: MeterName = "",
    types: Types = None,
    customers: Customers = None,
    start: Start = "",
    end: End = "",
    recorded_from: RecordedFrom = "",
    recorded_until: RecordedUntil = "",
    where: Where = None,
    zone: Zone = "UTC",
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Show what a cancellation would hit, and the totals that would change. Writes nothing."""
    bounds = (start, end, recorded_from, recorded_until)
    choice = _choice(ids, sources, meter, types, customers, bounds, where, zone)
    with connected(var, os.environ) as services:
        found = preview_cancellation(services, choice)
    Screen(as_json).answer(message_document(found), preview_text(found), totals_table(found.totals))


@corrections_app.command("cancel")
def cancel_command(
    key: Key,
    reason: Reason,
    decided_by: DecidedBy = "",
    ids: Ids = None,
    sources: Sources = None,
    meter: MeterName = "",
    types: Types = None,
    customers: Customers = None,
    start: Start = "",
    end: End = "",
    recorded_from: RecordedFrom = "",
    recorded_until: RecordedUntil = "",
    where: Where = None,
    zone: Zone = "UTC",
    expect: Annotated[int, typer.Option(min=0, help="How many usage events it may hit, from the preview.")] = 0,
    until: Annotated[int, typer.Option(min=0, help="Log position up to which it acts, from the preview.")] = 0,
    yes: Annotated[bool, typer.Option("--yes", help="Preview, and cancel just that without asking.")] = False,
    wait: Wait = True,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Cancel usage events, by name or by filter. A filter is previewed first, and you are asked."""
    bounds = (start, end, recorded_from, recorded_until)
    choice = _choice(ids, sources, meter, types, customers, bounds, where, zone)
    screen = Screen(as_json)
    with connected(var, os.environ) as services:
        if choice.filter is not None and not until:
            expect, until = _decided(services, key) or _agreed(services, choice, screen, is_agreed=yes)
        request = correction.CancelUsageRequest(
            key=key,
            names=choice.names,
            filter=choice.filter,
            expected_count=expect,
            until_position=until,
            reason=reason,
            decided_by=decided_by,
            answer_early=True,
        )
        done = services.aggregator.call(services.corrections.CancelUsage, request, DECISION_TIMEOUT_S).correction
        done = _settled(services, done, screen) if wait else done
    _answer(screen, done)


@corrections_app.command("amend")
def amend_command(
    key: Key,
    source: Annotated[str, typer.Option(help="Source of the usage event.")],
    id: Annotated[str, typer.Option(help="Its id.")],  # noqa: A002 (the option's name)
    reason: Reason,
    decided_by: DecidedBy = "",
    value: Annotated[str | None, typer.Option(help="The value from now on, decimal text.")] = None,
    change: Annotated[
        list[str] | None, typer.Option("--property", help="Property from now on, KEY=TEXT, repeatable; others stay.")
    ] = None,
    without: Annotated[list[str] | None, typer.Option(help="Property to leave out from now on, repeatable.")] = None,
    wait: Wait = True,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Give one recorded usage event another value or other properties."""
    if value is None and not change and not without:
        raise misused("say --value, --property or --without")
    with connected(var, os.environ) as services:
        properties = _properties(services, source, id, change or [], without or []) if change or without else None
        request = correction.AmendUsageRequest(
            key=key,
            name=correction.UsageName(source=source, id=id),
            value=value,
            properties=None if properties is None else correction.NewProperties(properties=properties),
            reason=reason,
            decided_by=decided_by,
            answer_early=True,
        )
        done = services.aggregator.call(services.corrections.AmendUsage, request, DECISION_TIMEOUT_S).correction
        done = _settled(services, done, Screen(as_json)) if wait else done
    _answer(Screen(as_json), done)


@corrections_app.command("revert")
def revert_command(
    key: Key,
    reason: Reason,
    decided_by: DecidedBy = "",
    wait: Wait = True,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Make it as though a correction had never been."""
    request = correction.RevertCorrectionRequest(key=key, reason=reason, decided_by=decided_by, answer_early=True)
    with connected(var, os.environ) as services:
        done = services.aggregator.call(services.corrections.RevertCorrection, request, DECISION_TIMEOUT_S).correction
        done = _settled(services, done, Screen(as_json)) if wait else done
    _answer(Screen(as_json), done)


@corrections_app.command("list")
def list_command(var: Var = DEFAULT_VAR, as_json: Json = False) -> None:
    """List corrections, newest first."""
    with connected(var, os.environ) as services:
        found = list_corrections(services)
    Screen(as_json).answer([message_document(each) for each in found], corrections_table(found))


@corrections_app.command("show")
def show_command(key: Key, var: Var = DEFAULT_VAR, as_json: Json = False) -> None:
    """Show one correction."""
    with connected(var, os.environ) as services:
        found = get_correction(services, key)
    _answer(Screen(as_json), found)


def _choice(
    ids: Ids,
    sources: Sources,
    meter: str,
    types: Types,
    customers: Customers,
    bounds: tuple[str, str, str, str],
    where: Where,
    zone: str,
) -> Choice:
    return choice_of(
        TypedChoice(
            ids=tuple(ids or ()),
            sources=tuple(sources or ()),
            meter=meter,
            types=tuple(types or ()),
            customers=tuple(customers or ()),
            start=bounds[0],
            end=bounds[1],
            recorded_from=bounds[2],
            recorded_until=bounds[3],
            where=tuple(where or ()),
            zone=zone,
        )
    )


def _decided(services: Services, key: str) -> tuple[int, int] | None:
    """What the cancellation of this key hit and up to where, when it is decided already: a repeat says the same."""
    found = decided_cancellation(services, key)
    return None if found is None else (found.usage_event_count, found.until_position)


def _agreed(services: Services, choice: Choice, screen: Screen, *, is_agreed: bool) -> tuple[int, int]:
    """What the preview counted and its position, once somebody agreed; raises CommandFailed."""
    found = preview_cancellation(services, choice)
    screen.people.print(preview_text(found), soft_wrap=True)
    if not found.usage_event_count:
        raise CommandFailed("there is nothing to cancel; check the options", reason="NOTHING_CHOSEN")
    if found.totals:
        screen.people.print(totals_table(found.totals))
    if not is_agreed and not typer.confirm(f"Cancel {count_text(found.usage_event_count, 'usage event')}?", err=True):
        raise misused("nothing was cancelled", "NOT_AGREED")
    return found.usage_event_count, found.position


def _properties(
    services: Services,
    source: str,
    id: str,  # noqa: A002 (the field's name)
    changes: list[str],
    without: list[str],
) -> dict[str, str]:
    """The properties that count now, with the changes."""
    request = aggregator.GetUsageEventRequest(source=source, id=id)
    properties = dict(services.aggregator.call(services.meters.GetUsageEvent, request).event.properties)
    for change in changes:
        name, sign, text = change.partition("=")
        if not sign or not name:
            raise misused(f'--property is "{change[:60]}"; write KEY=TEXT')
        properties[name] = text
    for name in without:
        if properties.pop(name, None) is None:
            raise misused(f'--without names "{name[:60]}", which the usage event does not have')
    return properties


def _settled(services: Services, done: correction.Correction, screen: Screen) -> correction.Correction:
    """The correction once usage says so."""
    if not done.HasField("counting"):
        return done
    wait_until_counted(services, done.counting.position, screen)
    return get_correction(services, done.key)


def _answer(screen: Screen, done: correction.Correction) -> None:
    screen.answer(message_document(done), corrections_table([done]))
