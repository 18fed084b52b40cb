"""`meterlog simulate`: seeded, realistic usage through one of the doors."""

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from meterlog.client.channel import connection
from services.cli.addresses import find_addresses
from services.cli.clock import read_clock
from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.connection import API_KEY_VARIABLE, connected
from services.cli.failure import misused
from services.cli.instants import instant_text, parse_day_or_instant
from services.cli.screen import Screen
from services.cli.simulating.doors import Door, Doors
from services.cli.simulating.load import Load
from services.cli.simulating.shares import Shares
from services.cli.simulating.simulation import Pace, Tally
from services.cli.simulating.simulation import simulate as run_simulation
from services.kernel.calendar import time_zone

EVENTS: Final = 100_000
_PER_MILLE_MAX: Final = 1000


def simulate(
    events: Annotated[int, typer.Option(min=1, help="How many usage events there are.")] = EVENTS,
    seconds: Annotated[int, typer.Option(min=0, help="Stop after so long; 0: when all are sent.")] = 0,
    rate: Annotated[int, typer.Option(min=0, help="Usage events a second; 0: as fast as it goes.")] = 0,
    door: Annotated[Door, typer.Option(help="How they are sent.")] = Door.ROWS,
    rows: Annotated[int, typer.Option(min=0, max=10_000, help="Usage events a call; 0: what suits the door.")] = 0,
    in_flight: Annotated[int, typer.Option(min=1, max=64, help="Calls, or batches of a stream, at once.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Another seed is other usage; the same is the same.")] = 1,
    start: Annotated[
        str, typer.Option("--from", help="First day or instant of the usage; default: a week before today.")
    ] = "",
    days: Annotated[int, typer.Option(min=1, max=3660, help="Days that the usage is spread over.")] = 7,
    customers: Annotated[int, typer.Option(min=1, max=1_000_000, help="Customers; few of them are busy.")] = 1000,
    sources: Annotated[int, typer.Option(min=1, max=10_000, help="Sources.")] = 8,
    late: Annotated[int, typer.Option(min=0, max=_PER_MILLE_MAX, help="Of 1,000, so many up to 6 h late.")] = 20,
    duplicates: Annotated[int, typer.Option(min=0, max=_PER_MILLE_MAX, help="Of 1,000, so many sent again.")] = 0,
    conflicts: Annotated[
        int, typer.Option(min=0, max=_PER_MILLE_MAX, help="Of 1,000, so many sent again with another value.")
    ] = 0,
    wrong: Annotated[int, typer.Option(min=0, max=_PER_MILLE_MAX, help="Of 1,000, so many malformed.")] = 0,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Send usage that looks real, from a seed, and show how fast it was accepted and what became of it."""
    if duplicates + conflicts + wrong > _PER_MILLE_MAX:
        raise misused("--duplicates, --conflicts and --wrong are more than all together")
    screen = Screen(as_json)
    first = _first_instant(var, start, days)
    load = Load(
        events=events,
        seed=seed,
        customers=customers,
        sources=sources,
        start_at=first,
        length=timedelta(days=days),
        late_per_mille=late,
        shares=Shares(duplicates, conflicts, wrong),
    )
    address = find_addresses(var, os.environ)["ingest"]
    doors = Doors(connection(address, "", "", os.environ.get(API_KEY_VARIABLE, ""), None))
    try:
        tally = _with_bar(load, door, Pace(rate, seconds, in_flight, rows), doors, screen)
    finally:
        doors.close()
    document = {"door": door.value, "seed": seed, "start_at": instant_text(first), **tally.document()}
    screen.answer(document, _table(document))


def _first_instant(var: Path, start: str, days: int) -> datetime:
    zone = time_zone("UTC")
    if start:
        return parse_day_or_instant(start, zone, "--from")
    with connected(var, os.environ) as services:
        now = read_clock(services.ingest).now
    return now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days)


def _with_bar(load: Load, door: Door, pace: Pace, doors: Doors, screen: Screen) -> Tally:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[speed]} usage events/s"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=screen.people, transient=True) as bars:
        bar = bars.add_task(door.value, total=load.events, speed=0)

        def show(tally: Tally) -> None:
            speed = round(tally.events / tally.seconds) if tally.seconds else 0
            bars.update(bar, completed=tally.events, speed=speed)

        return run_simulation(load, door, pace, doors, show)


def _table(document: dict[str, object]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in document.items():
        shown = ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, dict) else str(value)
        table.add_row(name.replace("_", " "), shown)
    return table
