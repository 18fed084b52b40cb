"""The projections of all services: how far each is folded, what it set aside, which rebuilds are held."""

from collections.abc import Iterator, Sequence
from threading import Event
from typing import Final

from rich.table import Table
from rich.text import Text

from meterlog.common.v1 import projection_pb2 as projection
from meterlog.common.v1.projection_pb2_grpc import ProjectionServiceStub
from services.cli.connection import Service, Services
from services.cli.failure import CommandFailed, misused
from services.cli.refusal import REPLICA_FOLLOWS, how_to_reach
from services.kernel.clock import monotonic_s

POLL_S: Final = 0.05


def projections_of(service: Service) -> ProjectionServiceStub:
    """The face that shows and rebuilds a service's projections."""
    return ProjectionServiceStub(service.channel)


def known_projections(services: Services) -> Iterator[tuple[Service, projection.Projection]]:
    """Every projection with the service that owns it."""
    for service in services.each():
        for found in _projections(service):
            yield service, found


def chosen_projections(services: Services, names: Sequence[str]) -> list[tuple[Service, str]]:
    """The named projections, or all of them; raises CommandFailed for a name that no service knows."""
    return [(service, found.name) for service, found in _chosen(services, names)]


def ordered_projections(services: Services, names: Sequence[str]) -> list[tuple[Service, str]]:
    """As `chosen_projections`, for an order that only the replica that folds a projection carries out.

    Raises CommandFailed (REPLICA_FOLLOWS), before anything is begun, when one of them is folded elsewhere.
    """
    chosen = _chosen(services, names)
    for service, found in chosen:
        if found.leader:
            raise CommandFailed(
                f'{service.name} at {service.address} follows the replica "{found.leader}", which alone folds and '
                f'rebuilds "{found.name}"; {how_to_reach(service.name)}',
                reason=REPLICA_FOLLOWS,
            )
    return [(service, found.name) for service, found in chosen]


def wait_until_folded(service: Service, timeout_s: float) -> None:
    """Return when the service has folded the log as far as it reaches now; raises CommandFailed."""
    head = max((found.head_position for found in _projections(service)), default=0)
    deadline = monotonic_s() + timeout_s
    while behind := [found.name for found in _projections(service) if found.position < head]:
        if monotonic_s() > deadline:
            raise CommandFailed(
                f"not folded up to position {head} after {timeout_s:.0f} s: {', '.join(behind)}; look into the logs",
                reason="FOLDING_LAGS",
            )
        Event().wait(POLL_S)


def cancel_rebuilds(services: Services, names: Sequence[str]) -> list[str]:
    """End the rebuilds of the named projections, or all that run; returns their names."""
    running = {found.name for _, found in known_projections(services) if found.rebuild_runs}
    cancelled = []
    for service, name in ordered_projections(services, names):
        if names or name in running:
            service.call(projections_of(service).CancelRebuild, projection.CancelRebuildRequest(name=name))
            cancelled.append(name)
    return cancelled


def discard_rebuilds(services: Services, names: Sequence[str], position: int) -> list[tuple[str, int]]:
    """Drop what is held of the named projections, or of all; returns name and position of each that is gone."""
    holding = {found.name for _, found in known_projections(services) if found.held_rebuilds}
    gone = []
    for service, name in ordered_projections(services, names):
        if name in holding:
            request = projection.DiscardRebuildsRequest(name=name, position=position)
            answer = service.call(projections_of(service).DiscardRebuilds, request)
            gone += [(name, held.position) for held in answer.discarded]
    return gone


def projection_document(service: Service, found: projection.Projection) -> dict[str, object]:
    """One projection as `--json` shows it."""
    return {
        "service": service.name,
        "projection": found.name,
        "generation": found.generation,
        "position": found.position,
        "head_position": found.head_position,
        "caught_up": found.caught_up,
        "stop_reason": found.stop_reason,
        "parked_events": found.parked_events,
        "skipped_events": found.skipped_events,
        "rebuild_runs": found.rebuild_runs,
        "leader": found.leader,
        "held_rebuilds": [{"position": held.position, "events": held.events} for held in found.held_rebuilds],
    }


def projections_table(known: Sequence[tuple[Service, projection.Projection]]) -> Table:
    """One line a projection."""
    table = Table()
    for name in ("service", "projection"):
        table.add_column(name, no_wrap=True)
    for name in ("folded to", "parked", "skipped"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("held at")
    table.add_column("state", overflow="fold")
    for service, found in known:
        folded = f"{found.position} of {found.head_position}"
        counts = (folded, str(found.parked_events), str(found.skipped_events))
        held = ", ".join(str(each.position) for each in found.held_rebuilds)
        table.add_row(service.name, found.name, *counts, held, _state(found))
    return table


def _state(found: projection.Projection) -> Text:
    if found.stop_reason:
        return Text(found.stop_reason, "bold red")
    if found.parked_events:
        return Text("events are parked", "yellow")
    if not found.caught_up:
        return Text("catching up", "yellow")
    if found.leader:
        return Text(f"follows {found.leader}", "green")
    return Text("being rebuilt" if found.rebuild_runs else "folds", "green")


def _chosen(services: Services, names: Sequence[str]) -> list[tuple[Service, projection.Projection]]:
    known = {found.name: (service, found) for service, found in known_projections(services)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise misused(f'no projection "{unknown[0]}"; there are {", ".join(sorted(known))}', "PROJECTION_NOT_FOUND")
    return [known[name] for name in (dict.fromkeys(names) or known)]


def _projections(service: Service) -> Sequence[projection.Projection]:
    request = projection.ListProjectionsRequest()
    return service.call(projections_of(service).ListProjections, request).projections
