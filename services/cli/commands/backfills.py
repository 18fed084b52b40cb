"""`meterlog backfills`: load usage of the past all at once, and take it back."""

import os
from typing import Annotated

import typer

from meterlog.aggregator.v1 import correction_pb2 as correction
from services.cli.commands.counting import Wait
from services.cli.commands.decision_options import Customers, DecidedBy, End, Reason, Start, Types, Zone
from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.connection import Services, connected
from services.cli.corrections import DECISION_TIMEOUT_S, backfills_table, list_backfills
from services.cli.counting import wait_until_counted
from services.cli.failure import misused
from services.cli.message_document import message_document
from services.cli.ranges import bound
from services.cli.screen import Screen

backfills_app = typer.Typer(
    help="Load usage of the past: open, `import --backfill`, close so that it counts, or revert."
)

Key = Annotated[str, typer.Argument(help="Key of the backfill, chosen by you.")]


@backfills_app.command("open")
def open_command(
    key: Key,
    reason: Reason,
    decided_by: DecidedBy = "",
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Closing it cancels what was recorded before for the same time, customers and types."
        ),
    ] = False,
    start: Start = "",
    end: End = "",
    customers: Customers = None,
    types: Types = None,
    zone: Zone = "UTC",
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Open a backfill: usage that is recorded for it is held back until it is closed."""
    if replace and not (start and end):
        raise misused("--replace needs --from and --to: the time whose usage is replaced")
    request = correction.OpenBackfillRequest(
        key=key,
        replaces_existing=replace,
        start_at=bound(start, zone, "--from"),
        end_at=bound(end, zone, "--to"),
        subjects=customers or (),
        types=types or (),
        reason=reason,
        decided_by=decided_by,
    )
    with connected(var, os.environ) as services:
        done = services.aggregator.call(services.corrections.OpenBackfill, request, DECISION_TIMEOUT_S).backfill
    _answer(Screen(as_json), done)


@backfills_app.command("close")
def close_command(
    key: Key,
    reason: Reason,
    decided_by: DecidedBy = "",
    expect: Annotated[int, typer.Option(min=0, help="How many usage events must have been loaded.")] = 0,
    wait: Wait = True,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Close a backfill: its usage counts, and what it replaces does not, all at once."""
    request = correction.CloseBackfillRequest(
        key=key, expected_count=expect, reason=reason, decided_by=decided_by, answer_early=True
    )
    with connected(var, os.environ) as services:
        done = services.aggregator.call(services.corrections.CloseBackfill, request, DECISION_TIMEOUT_S).backfill
        done = _settled(services, done, Screen(as_json)) if wait else done
    _answer(Screen(as_json), done)


@backfills_app.command("revert")
def revert_command(
    key: Key,
    reason: Reason,
    decided_by: DecidedBy = "",
    wait: Wait = True,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Revert a backfill, open or closed: its usage does not count, for ever, and what it replaced does again."""
    request = correction.RevertBackfillRequest(key=key, reason=reason, decided_by=decided_by, answer_early=True)
    with connected(var, os.environ) as services:
        done = services.aggregator.call(services.corrections.RevertBackfill, request, DECISION_TIMEOUT_S).backfill
        done = _settled(services, done, Screen(as_json)) if wait else done
    _answer(Screen(as_json), done)


@backfills_app.command("list")
def list_command(var: Var = DEFAULT_VAR, as_json: Json = False) -> None:
    """List backfills, newest first."""
    with connected(var, os.environ) as services:
        found = list_backfills(services)
    Screen(as_json).answer([message_document(each) for each in found], backfills_table(found))


@backfills_app.command("show")
def show_command(key: Key, var: Var = DEFAULT_VAR, as_json: Json = False) -> None:
    """Show one backfill."""
    with connected(var, os.environ) as services:
        found = _get(services, key)
    _answer(Screen(as_json), found)


def _get(services: Services, key: str) -> correction.Backfill:
    request = correction.GetBackfillRequest(key=key)
    return services.aggregator.call(services.corrections.GetBackfill, request).backfill


def _settled(services: Services, done: correction.Backfill, screen: Screen) -> correction.Backfill:
    """The backfill once usage says so."""
    if not done.HasField("counting"):
        return done
    wait_until_counted(services, done.counting.position, screen)
    return _get(services, done.key)


def _answer(screen: Screen, done: correction.Backfill) -> None:
    screen.answer(message_document(done), backfills_table([done]))
