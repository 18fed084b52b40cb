"""A service as a process: what its room builds, and how it is started, kept healthy and drained."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import grpc
import structlog

from services.eventstore.log_settings import LogSettings, log_settings
from services.eventstore.open import open_store
from services.eventstore.store import EventStore
from services.kernel.clock import Clock, SimulatedClock, SystemClock
from services.kernel.errors import DomainError
from services.projection.projection import Rebuildable
from services.rpc.clock_face import CLOCK_SERVICE, ClockFace
from services.rpc.common_settings import common_settings
from services.rpc.health import Health
from services.rpc.logs import configure_logs
from services.rpc.projection_face import PROJECTION_SERVICE, ProjectionFace
from services.rpc.server import call_interceptor, open_server
from services.rpc.settings import Setting, Settings, help_text
from services.rpc.simulation import ClockFollower, advance, parse_start

WORKER_STOP_TIMEOUT_S = 10.0
READY_POLL_S = 0.05
HEALTH_POLL_S = 0.25
SWITCH_INTERVAL_S = 0.0005
"""How long a computing thread keeps the others waiting. Beside one, Python's default of 5 ms makes a durable append of
one event take 18 ms; this makes it 5 ms."""

log = structlog.get_logger()


class Worker(Protocol):
    """Something that runs in the background of a service, in threads of its own."""

    @property
    def name(self) -> str:
        """What it does, in a word or two; shown beside its problem."""

    def start(self) -> None:
        """Begin; returns soon."""

    def stop(self, timeout_s: float) -> None:
        """Finish what is in hand and stop; safe when never started."""

    def is_ready(self) -> bool:
        """Whether the service may be asked."""

    def problem(self) -> str:
        """What is wrong; empty while all is well."""


@dataclass(frozen=True, slots=True)
class Face:
    """One gRPC service: its full name, and how it is added to a server."""

    service_name: str
    register: Callable[[grpc.aio.Server], None]


@dataclass(frozen=True, slots=True)
class Context:
    """What a room gets to build its service from. `var_path` is this service's own folder for embedded files."""

    settings: Settings
    store: EventStore
    clock: Clock
    log_settings: LogSettings
    var_path: Path
    database_url: str


@dataclass(frozen=True, slots=True)
class Service:
    """What a room builds: faces, workers in the order of their start, projections that can be rebuilt.

    `on_drain` is called when the service begins to stop: it ends the streams that would otherwise last for ever. Each
    returns at once.
    """

    faces: tuple[Face, ...]
    workers: tuple[Worker, ...]
    projections: tuple[Rebuildable, ...]
    on_drain: tuple[Callable[[], None], ...] = ()


def run(name: str, build: Callable[[Context], Service], own_settings: Sequence[Setting] = ()) -> int:
    """Run a service until SIGTERM or SIGINT; returns the exit code. `--help` lists its settings."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    declared = (*common_settings(name), *own_settings)
    if "--help" in sys.argv[1:]:
        sys.stdout.write(help_text(name, declared) + "\n")
        return 0
    try:
        settings = Settings(declared, os.environ)
        configure_logs(settings, name)
        asyncio.run(_serve(name, build, settings))
    except DomainError as error:
        sys.stderr.write(f"{name}: {error.message}\n")
        return 2
    return 0


async def _serve(name: str, build: Callable[[Context], Service], settings: Settings) -> None:
    stopping = _stop_signals()
    clock = _clock(settings)
    store = open_store(settings.text("METERLOG_STORE_URL"), clock)
    try:
        service, workers = _built(name, build, settings, store, clock)
        await _serve_until(stopping, settings, service, workers, store, clock)
    finally:
        store.close()


def _built(
    name: str, build: Callable[[Context], Service], settings: Settings, store: EventStore, clock: Clock
) -> tuple[Service, tuple[Worker, ...]]:
    var_path = settings.path("METERLOG_VAR") / name
    var_path.mkdir(parents=True, exist_ok=True)
    database_url = settings.text("METERLOG_DATABASE_URL") or f"sqlite:///{var_path / 'tables.db'}"
    fixed = log_settings(store, clock, settings.integer("METERLOG_USAGE_PARTITIONS", minimum=1))
    followers: tuple[Worker, ...] = ()
    if isinstance(clock, SimulatedClock):
        now, _ = advance(store, clock.now(), only_as_start=True)
        clock.advance(now)
        followers = (ClockFollower(store, clock),)
    service = build(Context(settings, store, clock, fixed, var_path, database_url))
    return service, (*followers, *service.workers)


async def _serve_until(
    stopping: asyncio.Event,
    settings: Settings,
    service: Service,
    workers: Sequence[Worker],
    store: EventStore,
    clock: Clock,
) -> None:
    faces = (
        *service.faces,
        Face(CLOCK_SERVICE, ClockFace(store, clock).register),
        Face(PROJECTION_SERVICE, ProjectionFace(service.projections, clock).register),
    )
    health = Health(tuple(face.service_name for face in faces))
    interceptor = call_interceptor(settings)
    registrations = [(face.service_name, face.register) for face in faces]
    server = await open_server(settings, registrations, health, interceptor)
    loop = asyncio.get_running_loop()
    started: list[Worker] = []
    try:
        await server.start()
        for worker in workers:
            started.append(worker)
            await loop.run_in_executor(None, worker.start)
        log.info("listening", address=settings.text("METERLOG_LISTEN"))
        await _watch_workers(workers, health, stopping)
        log.info("draining")
    finally:
        await health.drain()
        for end_streams in service.on_drain:
            end_streams()
        await server.stop(settings.seconds("METERLOG_DRAIN_S"))
        interceptor.close()
        for worker in reversed(started):
            await loop.run_in_executor(None, worker.stop, WORKER_STOP_TIMEOUT_S)
        log.info("stopped")


async def _watch_workers(workers: Sequence[Worker], health: Health, stopping: asyncio.Event) -> None:
    was_ready = False
    known_problems: dict[str, str] = {}
    while not stopping.is_set():
        is_ready = all(worker.is_ready() for worker in workers)
        problems = {worker.name: worker.problem() for worker in workers if worker.problem()}
        if is_ready != was_ready:
            log.info("ready" if is_ready else "not ready")
            await health.set_ready(is_ready)
            was_ready = is_ready
        if problems != known_problems:
            log.warning("problems", **problems) if problems else log.info("no problems any more")
            known_problems = problems
        try:
            await asyncio.wait_for(stopping.wait(), HEALTH_POLL_S if is_ready else READY_POLL_S)
        except TimeoutError:
            continue


def _clock(settings: Settings) -> Clock:
    if settings.choice("METERLOG_CLOCK", ("system", "simulated")) == "system":
        return SystemClock()
    return SimulatedClock(parse_start(settings.text("METERLOG_CLOCK_START")))


def _stop_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping
