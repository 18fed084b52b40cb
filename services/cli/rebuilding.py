"""Rebuilds projections of any service from the log, and says whether each came out as the live one."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from meterlog.common.v1 import projection_pb2 as projection
from services.cli.connection import Service, Services
from services.cli.failure import CommandFailed
from services.cli.projections import ordered_projections, projections_of
from services.cli.screen import Screen
from services.projection.projection import RebuildMode

REBUILD_TIMEOUT_S: Final = 24 * 3600.0
DIGEST_CHARACTERS: Final = 12
PARALLEL_MAX: Final = 16
POSITION_MAX: Final = 2**63 - 1
"""What a position can be on the wire."""

_MODES: Final = {
    RebuildMode.SWAP_WHEN_EQUAL: projection.REBUILD_MODE_SWAP_WHEN_EQUAL,
    RebuildMode.COMPARE_ONLY: projection.REBUILD_MODE_COMPARE_ONLY,
    RebuildMode.REPLACE: projection.REBUILD_MODE_REPLACE,
}


@dataclass(frozen=True, slots=True)
class Order:
    """How to rebuild. Positions of 0 mean from the first event, and to the end; `examples` are keys a table."""

    mode: RebuildMode = RebuildMode.SWAP_WHEN_EQUAL
    from_position: int = 0
    resume: bool = False
    until_position: int = 0
    examples: int = 0

    def request(self, name: str) -> projection.RebuildProjectionRequest:
        """The order as the service takes it."""
        return projection.RebuildProjectionRequest(
            name=name,
            mode=_MODES[self.mode],
            from_position=self.from_position,
            resume=self.resume,
            until_position=self.until_position,
            example_keys_max=self.examples,
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """How one table differs: keys that differ, rows on either side, and the first of the keys."""

    table: str
    rows: int
    live_rows: int
    rebuilt_rows: int
    example_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How one rebuild ended: events folded, and both digests at the same log position.

    One that was held at a position on purpose was not compared: it has no digests, and is neither equal nor not.
    """

    service: str
    projection: str
    position: int
    events: int
    live_digest: str
    rebuilt_digest: str
    equal: bool
    swapped: bool
    held: bool = False
    differences: tuple[Difference, ...] = ()


def rebuild_projections(
    services: Services,
    names: Sequence[str],
    screen: Screen,
    mode: RebuildMode = RebuildMode.SWAP_WHEN_EQUAL,
) -> list[Rebuilt]:
    """Rebuild the named projections, or all of them, from the first event, one after the other."""
    return carry_out(services, names, screen, Order(mode), parallel=1)


def carry_out(services: Services, names: Sequence[str], screen: Screen, order: Order, parallel: int) -> list[Rebuilt]:
    """Rebuild the named projections, or all of them, `parallel` at once, with a bar for each.

    When one fails, or the command is interrupted, those under way end and are held.
    """
    chosen = ordered_projections(services, names)
    bars = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    pool = ThreadPoolExecutor(parallel, thread_name_prefix="rebuild")
    with Progress(*bars, TextColumn("{task.fields[pace]}"), console=screen.people) as progress:
        try:
            running: list[Future[Rebuilt]] = [
                pool.submit(_with_bar, progress, service, name, order) for service, name in chosen
            ]
            return [future.result() for future in running]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def rebuilt_table(results: Sequence[Rebuilt]) -> Table:
    """One line a projection; digests shortened."""
    table = Table()
    for name in ("service", "projection"):
        table.add_column(name)
    table.add_column("events", justify="right")
    for name in ("live digest", "rebuilt digest", "equal"):
        table.add_column(name)
    for result in results:
        live, rebuilt = result.live_digest[:DIGEST_CHARACTERS], result.rebuilt_digest[:DIGEST_CHARACTERS]
        table.add_row(result.service, result.projection, str(result.events), live, rebuilt, _verdict(result))
    return table


def differences_table(results: Sequence[Rebuilt]) -> Table:
    """One line a table that differs, with the first keys that do."""
    table = Table()
    for name in ("projection", "table"):
        table.add_column(name)
    for name in ("keys that differ", "live rows", "rebuilt rows"):
        table.add_column(name, justify="right")
    table.add_column("for example", overflow="fold")
    for result in results:
        for found in result.differences:
            counts = map(str, (found.rows, found.live_rows, found.rebuilt_rows))
            table.add_row(result.projection, found.table, *counts, "\n".join(found.example_keys))
    return table


def _verdict(result: Rebuilt) -> Text:
    if result.held:
        return Text(f"held at {result.position}", "yellow")
    return Text("yes", "green") if result.equal else Text("NO", "bold red")


def _with_bar(progress: Progress, service: Service, name: str, order: Order) -> Rebuilt:
    task = progress.add_task(f"rebuild {name}", total=None, pace="")

    def advanced(response: projection.RebuildProjectionResponse) -> None:
        total = order.until_position or response.head_position or response.position
        progress.update(task, completed=response.position, total=total, pace=_pace(response))

    rebuilt = _rebuild(service, name, order, advanced)
    progress.update(task, completed=rebuilt.position, total=rebuilt.position, pace="")
    return rebuilt


def _pace(response: projection.RebuildProjectionResponse) -> str:
    if not response.events_per_second:
        return ""
    left = f", {response.seconds_left:,} s left" if response.HasField("seconds_left") else ""
    return f"{response.events_per_second:,} events/s{left}"


def _rebuild(
    service: Service, name: str, order: Order, advanced: Callable[[projection.RebuildProjectionResponse], None]
) -> Rebuilt:
    events = 0
    last: projection.RebuildProjectionResponse | None = None
    for last in service.stream(projections_of(service).RebuildProjection, order.request(name), REBUILD_TIMEOUT_S):
        events = max(events, last.events)
        advanced(last)
    if last is not None and last.HasField("held"):
        return Rebuilt(service.name, name, last.held.position, events, "", "", equal=False, swapped=False, held=True)
    if last is None or not last.HasField("comparison"):
        raise CommandFailed(f'the {service.name} service ended the rebuild of "{name}" without a comparison; repeat it')
    found = last.comparison
    return Rebuilt(
        service=service.name,
        projection=name,
        position=found.position,
        events=events,
        live_digest=found.live_digest,
        rebuilt_digest=found.rebuilt_digest,
        equal=found.equal,
        swapped=found.swapped,
        differences=tuple(map(_difference, found.differences)),
    )


def _difference(found: projection.TableDifference) -> Difference:
    return Difference(found.table, found.rows, found.live_rows, found.rebuilt_rows, tuple(found.example_keys))
