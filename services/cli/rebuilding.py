"""Rebuilds projections of any service from the log, and says whether each came out as the live one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from meterlog.common.v1 import projection_pb2 as projection
from services.cli.connection import Service, Services
from services.cli.failure import CommandFailed, misused
from services.cli.projections import known_projections, projections_of
from services.cli.screen import Screen
from services.projection.projection import RebuildMode

REBUILD_TIMEOUT_S: Final = 24 * 3600.0
DIGEST_CHARACTERS: Final = 12

_MODES: Final = {
    RebuildMode.SWAP_WHEN_EQUAL: projection.REBUILD_MODE_SWAP_WHEN_EQUAL,
    RebuildMode.COMPARE_ONLY: projection.REBUILD_MODE_COMPARE_ONLY,
    RebuildMode.REPLACE: projection.REBUILD_MODE_REPLACE,
}


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How one rebuild ended: events folded, and both digests at the same log position."""

    service: str
    projection: str
    position: int
    events: int
    live_digest: str
    rebuilt_digest: str
    equal: bool
    swapped: bool


def rebuild_projections(
    services: Services, names: Sequence[str], screen: Screen, mode: RebuildMode = RebuildMode.SWAP_WHEN_EQUAL
) -> list[Rebuilt]:
    """Rebuild the named projections, or all of them, one after the other, with a bar for each."""
    chosen = _chosen(services, names)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen.people) as progress:
        return [_with_bar(progress, service, name, mode) for service, name in chosen]


def rebuilt_table(results: Sequence[Rebuilt]) -> Table:
    """One line a projection; digests shortened."""
    table = Table()
    for name in ("service", "projection"):
        table.add_column(name)
    table.add_column("events", justify="right")
    for name in ("live digest", "rebuilt digest", "equal"):
        table.add_column(name)
    for result in results:
        verdict = Text("yes", "green") if result.equal else Text("NO", "bold red")
        live, rebuilt = result.live_digest[:DIGEST_CHARACTERS], result.rebuilt_digest[:DIGEST_CHARACTERS]
        table.add_row(result.service, result.projection, str(result.events), live, rebuilt, verdict)
    return table


def _with_bar(progress: Progress, service: Service, name: str, mode: RebuildMode) -> Rebuilt:
    task = progress.add_task(f"rebuild {name}", total=None)

    def advanced(response: projection.RebuildProjectionResponse) -> None:
        total = response.head_position or response.position
        progress.update(task, completed=response.position, total=total)

    rebuilt = _rebuild(service, name, mode, advanced)
    progress.update(task, completed=rebuilt.position, total=rebuilt.position)
    return rebuilt


def _rebuild(
    service: Service, name: str, mode: RebuildMode, advanced: Callable[[projection.RebuildProjectionResponse], None]
) -> Rebuilt:
    request = projection.RebuildProjectionRequest(name=name, mode=_MODES[mode])
    events = 0
    found: projection.RebuildComparison | None = None
    for response in service.stream(projections_of(service).RebuildProjection, request, REBUILD_TIMEOUT_S):
        events = max(events, response.events)
        found = response.comparison if response.HasField("comparison") else None
        advanced(response)
    if found is None:
        raise CommandFailed(f'the {service.name} service ended the rebuild of "{name}" without a comparison; repeat it')
    return Rebuilt(
        service=service.name,
        projection=name,
        position=found.position,
        events=events,
        live_digest=found.live_digest,
        rebuilt_digest=found.rebuilt_digest,
        equal=found.equal,
        swapped=found.swapped,
    )


def _chosen(services: Services, names: Sequence[str]) -> list[tuple[Service, str]]:
    known = {found.name: service for service, found in known_projections(services)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise misused(f'no projection "{unknown[0]}"; there are {", ".join(sorted(known))}', "PROJECTION_NOT_FOUND")
    return [(known[name], name) for name in (names or known)]
