"""`meterlog projections`: where the projections stand, and what is decided about events that they set aside."""

import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.connection import Service, Services, connected
from services.cli.failure import CommandFailed, ExitCode
from services.cli.parking import parked_table, require_retryable, set_aside, skip, skipped
from services.cli.projections import chosen_projections, known_projections, projection_document, projections_table
from services.cli.rebuilding import POSITION_MAX, Order, carry_out, rebuilt_table
from services.cli.screen import Screen
from services.projection.projection import RebuildMode

projections_app = typer.Typer(help="Show projections, and decide about events that they set aside.")

Name = Annotated[str, typer.Argument(help="The projection.")]


@projections_app.callback(invoke_without_command=True)
def projections(context: typer.Context, var: Var = DEFAULT_VAR, as_json: Json = False) -> None:
    """Show where every projection stands."""
    if context.invoked_subcommand is None:
        _list(var, as_json)


@projections_app.command("list")
def list_command(var: Var = DEFAULT_VAR, as_json: Json = False) -> None:
    """Show where every projection stands."""
    _list(var, as_json)


@projections_app.command("parked")
def parked_command(
    name: Annotated[str, typer.Argument(help="Projection; default: all that set something aside.")] = "",
    with_skipped: Annotated[bool, typer.Option("--skipped", help="Also what was decided to be left out.")] = False,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """List the events that projections set aside. Fails when one waits for a decision."""
    with connected(var, os.environ) as services:
        chosen = list(_setting_aside(services, name, with_skipped))
        waiting = [event for service, found in chosen for event in set_aside(service, found)]
        decided = [event for service, found in chosen for event in skipped(service, found)] if with_skipped else []
    Screen(as_json).answer([asdict(event) for event in (*waiting, *decided)], parked_table([*waiting, *decided]))
    if waiting:
        raise typer.Exit(ExitCode.FAILED)


@projections_app.command("skip")
def skip_command(
    name: Name,
    position: Annotated[int, typer.Argument(min=1, max=POSITION_MAX, help="Log position of the event.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is recorded in the log.")],
    decided_by: Annotated[str, typer.Option("--by", help="Who decides; it is recorded in the log.")] = "",
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Leave an event that is parked, or that stops the projection, out of it for ever."""
    with connected(var, os.environ) as services:
        decision = skip(_service_of(services, name), name, position, reason, decided_by)
    Screen(as_json).answer(asdict(decision), parked_table([decision]))


@projections_app.command("retry")
def retry_command(name: Name, var: Var = DEFAULT_VAR, as_json: Json = False) -> None:
    """Fold parked events in after an upgrade, in their place: by a rebuild that takes over."""
    screen = Screen(as_json)
    with connected(var, os.environ) as services:
        require_retryable(_service_of(services, name), name)
        results = carry_out(services, [name], screen, Order(RebuildMode.REPLACE), parallel=1)
    if not all(result.swapped for result in results):
        raise CommandFailed(f'the rebuilt tables of "{name}" did not take over; repeat', reason="NOT_SWAPPED")
    screen.answer([asdict(result) for result in results], rebuilt_table(results))


def _list(var: Var, as_json: bool) -> None:
    with connected(var, os.environ) as services:
        known = list(known_projections(services))
    Screen(as_json).answer([projection_document(service, found) for service, found in known], projections_table(known))


def _service_of(services: Services, name: str) -> Service:
    [(service, _)] = chosen_projections(services, [name])
    return service


def _setting_aside(services: Services, name: str, with_skipped: bool) -> Iterator[tuple[Service, str]]:
    """The named projection, or those with something to show; one that stops without parking is told by its state."""
    if name:
        yield _service_of(services, name), name
        return
    for service, found in known_projections(services):
        if found.sets_events_aside and (
            found.parked_events or found.stop_reason or (with_skipped and found.skipped_events)
        ):
            yield service, found.name
