"""`meterlog audit`: prove that the log is what was written."""

import os
from typing import Annotated

import typer
from rich.text import Text

from services.cli.auditing import find_store_url, verification_document, verify_log
from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.failure import ExitCode
from services.cli.screen import Screen

audit_app = typer.Typer(help="Prove that the log is what was written.")


@audit_app.callback()
def audit() -> None:
    """Prove that the log is what was written."""


@audit_app.command("verify")
def verify_command(
    store_url: Annotated[str, typer.Option(help="Log to verify; default: that of the platform in --var.")] = "",
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Recompute every hash of the audit chain from the stored bytes. Works while the services run."""
    screen = Screen(as_json)
    url = store_url or find_store_url(var, os.environ)
    with screen.people.status(f"verifying {url}"):
        found = verify_log(url)
    if found.verified:
        words = Text.assemble(("verified", "green"), f": {found.events} events, head {found.head}")
    else:
        verdict = f" from position {found.first_bad_position} on: {found.problem}"
        words = Text.assemble(("NOT verified", "bold red"), verdict)
    screen.answer(verification_document(found), words)
    if not found.verified:
        raise typer.Exit(ExitCode.FAILED)
