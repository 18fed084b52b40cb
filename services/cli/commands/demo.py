"""`meterlog demo`: the whole story, on a generated or a given trace."""

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

import typer

from services.cli.commands.options import Json
from services.cli.connection import Services
from services.cli.demo.folder import take_fresh_folder
from services.cli.demo.receiver import Receiver
from services.cli.demo.report import Findings, checks, checks_table, proof_document, report_document
from services.cli.demo.stores import SQLITE, Stores, open_stores
from services.cli.demo.story import Stage, tell
from services.cli.demo.trace import Trace, read_trace
from services.cli.failure import ExitCode
from services.cli.importing.generate import FILE_NAME, NOTICE, generate_usage
from services.cli.platform import Platform
from services.cli.processes.environment import PlatformSettings
from services.cli.processes.log_line import LogLine, log_line_text
from services.cli.processes.ports import ANY_PORT
from services.cli.screen import Screen
from services.kernel.clock import monotonic_s

DEMO_VAR: Final = Path("var/demo")
RESTATE_EVERY_S: Final = "0"
"""Nobody wants to wait for what a platform gathers for some seconds."""
REPORT_FILE: Final = "report.json"
PROOF_FILE: Final = "proof.json"


def demo(
    trace: Annotated[
        Path | None,
        typer.Option(help="CSV file with TIMESTAMP, ContextTokens and GeneratedTokens; default: a generated one."),
    ] = None,
    store: Annotated[
        str,
        typer.Option(
            help="Where the log lies: sqlite, postgres (a private server, started for it), or the URL of an empty log: "
            "postgresql://, kurrentdb:// or esdb://."
        ),
    ] = SQLITE,
    database: Annotated[
        str,
        typer.Option(
            help="Where the read models lie: sqlite, postgres or postgresql://; default: beside a log in PostgreSQL, "
            "else in files."
        ),
    ] = "",
    var: Annotated[Path, typer.Option(help="Folder of the demonstration; emptied first.")] = DEMO_VAR,
    as_json: Json = False,
) -> None:
    """Import a trace twice, bill it, verify the webhooks, rebuild everything, prove the log; write report.json."""
    screen = Screen(as_json)
    started_s = monotonic_s()
    given = read_trace(trace) if trace else None
    with ExitStack() as stack:
        stores = stack.enter_context(open_stores(store, database, var))
        lock = take_fresh_folder(var, trace)
        stack.callback(lock.release)
        played = given or _generated(var, screen)
        receiver = stack.enter_context(Receiver())
        settings = _settings(var, played, stores)
        platform = stack.enter_context(Platform(settings, lock, lambda line: _show(screen, line)))
        services = Services(platform.addresses)
        stack.callback(services.close)
        screen.people.print(f"Four services are up, {monotonic_s() - started_s:.1f} s after the start")
        if stores.variables:
            screen.people.print(f"  {stores}", style="dim", markup=False, soft_wrap=True)
        findings = tell(Stage(played, platform, services, receiver, screen))
    _write(var / PROOF_FILE, proof_document(findings, str(stores)))
    _conclude(var, played, findings, screen, monotonic_s() - started_s)


def _generated(var: Path, screen: Screen) -> Trace:
    path = var / FILE_NAME
    generate_usage(path)
    screen.people.print(f"No trace was given, so {path} was written. {NOTICE}", soft_wrap=True)
    return read_trace(path)


def _settings(var: Path, trace: Trace, stores: Stores) -> PlatformSettings:
    """Nothing of the caller's METERLOG_* settings: the demonstration must not touch another log."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("METERLOG_")}
    return PlatformSettings(
        var=var,
        port_base=ANY_PORT,
        is_clock_simulated=True,
        clock_start=trace.last_at,
        allows_loopback_webhooks=True,
        environment={
            **inherited,
            **stores.variables,
            "METERLOG_GRACE_S": str(int(trace.grace.total_seconds())),
            "METERLOG_RESTATE_EVERY_S": RESTATE_EVERY_S,
        },
    )


def _conclude(var: Path, trace: Trace, findings: Findings, screen: Screen, seconds: float) -> None:
    report = report_document(findings)
    path = var / REPORT_FILE
    _write(path, report)
    results = checks(trace, findings)
    screen.answer(report, checks_table(results), f"{path} holds the report ({seconds:.1f} s)")
    if not all(result.holds for result in results):
        raise typer.Exit(ExitCode.FAILED)


def _write(path: Path, document: dict[str, object]) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _show(screen: Screen, line: LogLine) -> None:
    """Only what went wrong; everything else is in the logs folder."""
    if line.level in ("warning", "error", "critical") and "METERLOG_API_KEYS" not in line.text:
        screen.people.print(log_line_text(line), soft_wrap=True)
