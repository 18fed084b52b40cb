"""`meterlog up`: the whole platform in the foreground."""

import os
import signal
from types import FrameType
from typing import Annotated

import typer
from rich.text import Text

from services.cli.addresses import DEFAULT_PORT_BASE
from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.failure import misused
from services.cli.instants import parse_instant
from services.cli.platform import Platform
from services.cli.processes.environment import STORE_URL_VARIABLE, PlatformSettings
from services.cli.processes.log_line import LogLine, log_line_text
from services.cli.processes.members import AGGREGATORS_MAX
from services.cli.processes.var_lock import VarLock
from services.cli.screen import Screen
from services.cli.sealing import SealingThread
from services.cli.store_urls import DATABASE_URL_VARIABLE, require_shared_database, shown_url


def up(
    var: Var = DEFAULT_VAR,
    store: Annotated[
        str, typer.Option(envvar=STORE_URL_VARIABLE, help="URL of the log; default: a SQLite file in the folder.")
    ] = "",
    database: Annotated[
        str,
        typer.Option(
            envvar=DATABASE_URL_VARIABLE,
            help="URL of a PostgreSQL database of read models; default: a SQLite file for each service.",
        ),
    ] = "",
    port_base: Annotated[
        int, typer.Option(help="First of the consecutive ports on loopback; 0 takes any that are free.")
    ] = DEFAULT_PORT_BASE,
    aggregators: Annotated[
        int, typer.Option(min=1, max=AGGREGATORS_MAX, help="How many share the read models in PostgreSQL.")
    ] = 1,
    simulated_clock: Annotated[
        bool, typer.Option("--simulated-clock", help="Time stands still until `meterlog clock advance`.")
    ] = False,
    clock_start: Annotated[str, typer.Option(help="Instant at which a new simulation starts, ISO 8601.")] = "",
    webhook_allow_loopback: Annotated[
        bool, typer.Option("--webhook-allow-loopback", help="Let webhooks go to this machine, over http too.")
    ] = False,
    log_level: Annotated[
        str, typer.Option(envvar="METERLOG_LOG_LEVEL", help="debug, info, warning or error.")
    ] = "info",
    as_json: Json = False,
) -> None:
    """Start all four services on this machine, until Ctrl-C; without URLs, with embedded stores."""
    if clock_start and not simulated_clock:
        raise misused("--clock-start goes with --simulated-clock")
    settings = PlatformSettings(
        var=var,
        port_base=port_base,
        aggregators=_shareable(aggregators, database),
        is_clock_simulated=simulated_clock,
        clock_start=parse_instant(clock_start, "--clock-start") if clock_start else None,
        allows_loopback_webhooks=webhook_allow_loopback,
        log_level=log_level,
        environment=_environment(store, require_shared_database(database, "--database")),
    )
    screen = Screen(as_json)
    _run(Platform(settings, VarLock.take(var), lambda line: _show(screen, line)), screen)


def _shareable(aggregators: int, database: str) -> int:
    if aggregators > 1 and not database:
        raise misused(
            f"--aggregators {aggregators} needs read models that they can share: name a PostgreSQL database with "
            "--database"
        )
    return aggregators


def _environment(store: str, database: str) -> dict[str, str]:
    given = {STORE_URL_VARIABLE: store, DATABASE_URL_VARIABLE: database}
    return {**os.environ, **{name: url for name, url in given.items() if url}}


def _run(platform: Platform, screen: Screen) -> None:
    _interrupt_on_signals(platform)
    settings = platform.settings
    sealing = SealingThread(settings.store_url, settings.var, settings.environment, lambda line: _show(screen, line))
    try:
        platform.start()
        if not platform.is_interrupted():
            sealing.start()
            _announce(platform, screen)
        platform.wait()
        screen.people.print("stopping …", style="dim")
    finally:
        sealing.stop()
        platform.stop()


def _announce(platform: Platform, screen: Screen) -> None:
    document = {
        "pid": os.getpid(),
        "store_url": shown_url(platform.settings.store_url),
        "addresses": platform.addresses,
    }
    where = " · ".join(f"{process} {address}" for process, address in platform.addresses.items())
    rest = f": {where} (folder {platform.settings.var}; Ctrl-C stops it)"
    screen.answer(document, Text.assemble(("meterlog is up", "bold"), rest))


def _interrupt_on_signals(platform: Platform) -> None:
    """The first signal drains the platform, a second one ends every service at once."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        if platform.is_interrupted():
            platform.kill_all()
        platform.interrupt()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)


def _show(screen: Screen, line: LogLine) -> None:
    screen.people.print(log_line_text(line), soft_wrap=True)
