"""Every command on one screen; only the one that is typed is imported, so that a question starts as fast as it can."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import typer

SUMMARY: Final = "Usage metering and billing from one append-only, provable log."


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command is written, `module:name` below `services.cli.commands`, and its line in the list of all."""

    place: str
    help: str

    def load(self) -> Any:
        """The function of a command, or the typer.Typer of a group of them."""
        module, name = self.place.split(":")
        return getattr(import_module(f"services.cli.commands.{module}"), name)


COMMANDS: Final = {
    "up": Command(
        "up:up", "Start all four services on this machine, until Ctrl-C; without URLs, with embedded stores."
    ),
    "apply": Command(
        "apply:apply",
        "Create or update the meters, plans, customers, subscriptions and endpoints that a YAML file declares.",
    ),
    "meters": Command("meters:meters_app", "List, create, preview, redefine and archive meters."),
    "import": Command(
        "import_file:import_file",
        "Record every row of a file as a usage event. Running it again records nothing twice.",
    ),
    "usage": Command(
        "usage:usage_app", "Show usage: quantities, usage events, what no meter counts, and whether it is right."
    ),
    "corrections": Command(
        "corrections:corrections_app", "Cancel or amend recorded usage, and revert that. Nothing recorded is lost."
    ),
    "backfills": Command(
        "backfills:backfills_app",
        "Load usage of the past: open, `import --backfill`, close so that it counts, or revert.",
    ),
    "periods": Command(
        "periods:periods_app", "Show usage by period, list what was closed and restated, or close a period by hand."
    ),
    "invoices": Command("invoices:invoices_app", "List invoices, or show one as a person reads it."),
    "rebuild": Command(
        "rebuild:rebuild", "Rebuild projections beside the live ones and compare digests. Fails when one differs."
    ),
    "projections": Command(
        "projections:projections_app", "Show projections, and decide about events that they set aside."
    ),
    "audit": Command("audit:audit_app", "Prove that the log is what was written."),
    "log": Command("log:log_app", "Back the log up, move it to another store, look at what it holds."),
    "archive": Command("usage_archive:archive_app", "Show the archive of usage events, or bring it up to date now."),
    "clock": Command("clock:clock_app", "Show what the services take for now, or advance a simulated clock."),
    "simulate": Command(
        "simulate:simulate",
        "Send usage that looks real, from a seed, and show how fast it was accepted and what became of it.",
    ),
    "demo": Command(
        "demo:demo",
        "Import a trace twice, bill it, verify the webhooks, rebuild everything, prove the log; write report.json.",
    ),
}


def app_for(arguments: Sequence[str]) -> typer.Typer:
    """The application with the command that is typed; with a line for each when none is, or one that does not exist."""
    app = typer.Typer(name="meterlog", help=SUMMARY, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(_all_commands)
    name = next((argument for argument in arguments if argument != "--"), "")
    if name in COMMANDS:
        _add(app, name, COMMANDS[name].load())
    else:
        for each, command in COMMANDS.items():
            app.command(each, help=command.help)(_listed)
    return app


def _add(app: typer.Typer, name: str, loaded: Any) -> None:
    if isinstance(loaded, typer.Typer):
        app.add_typer(loaded, name=name)
    else:
        app.command(name)(loaded)


def _all_commands() -> None:
    """Nothing to do before a command; there so that one command alone is still a command, and not the application."""


def _listed() -> None:
    raise AssertionError("what is typed is loaded, so a command that is only listed never runs")
