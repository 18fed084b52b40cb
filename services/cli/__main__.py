"""The `meterlog` command: what it can do on one screen, and how it ends."""

import os
import sys
from typing import Final

import typer

from services.cli.commands.apply import apply
from services.cli.commands.audit import audit_app
from services.cli.commands.backfills import backfills_app
from services.cli.commands.clock import clock_app
from services.cli.commands.corrections import corrections_app
from services.cli.commands.demo import demo
from services.cli.commands.import_file import import_file
from services.cli.commands.invoices import invoices_app
from services.cli.commands.log import log_app
from services.cli.commands.meters import meters_app
from services.cli.commands.periods import periods_app
from services.cli.commands.projections import projections_app
from services.cli.commands.rebuild import rebuild
from services.cli.commands.simulate import simulate
from services.cli.commands.up import up
from services.cli.commands.usage import usage_app
from services.cli.commands.usage_archive import archive_app
from services.cli.failure import CommandFailed, ExitCode, misused
from services.cli.proxy import no_proxy_on_loopback
from services.cli.screen import show_failure
from services.kernel.errors import DomainError, InvalidInput

INTERRUPTED: Final = 130

app = typer.Typer(
    name="meterlog",
    help="Usage metering and billing from one append-only, provable log.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("up")(up)
app.command("apply")(apply)
app.add_typer(meters_app, name="meters")
app.command("import")(import_file)
app.add_typer(usage_app, name="usage")
app.add_typer(corrections_app, name="corrections")
app.add_typer(backfills_app, name="backfills")
app.add_typer(periods_app, name="periods")
app.add_typer(invoices_app, name="invoices")
app.command("rebuild")(rebuild)
app.add_typer(projections_app, name="projections")
app.add_typer(audit_app, name="audit")
app.add_typer(log_app, name="log")
app.add_typer(archive_app, name="archive")
app.add_typer(clock_app, name="clock")
app.command("simulate")(simulate)
app.command("demo")(demo)


def main() -> int:
    """Run the command line; 0 when done, 1 when refused or failed, 2 when it was called wrongly."""
    arguments = sys.argv[1:] or ["--help"]
    os.environ.update(no_proxy_on_loopback(os.environ))
    try:
        return int(app(arguments, prog_name="meterlog", standalone_mode=False) or ExitCode.DONE)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return _reader_left()
    except (CommandFailed, DomainError, OSError, typer.TyperException) as error:
        failure = _failure(error)
        show_failure(failure, as_json="--json" in arguments)
        return failure.exit_code


def _failure(error: CommandFailed | DomainError | OSError | typer.TyperException) -> CommandFailed:
    match error:
        case CommandFailed():
            return error
        case InvalidInput():
            return misused(error.message, error.reason)
        case DomainError():
            return CommandFailed(error.message, reason=error.reason)
        case OSError():
            return CommandFailed(f"{error.filename or 'the system'}: {error.strerror or error}", reason="SYSTEM")
        case _:
            return misused(_call_text(error.format_message()))


def _call_text(message: str) -> str:
    """What was wrong with the call, without the words of the library that parsed it."""
    return f"{message.replace('Value error, ', '').removesuffix('.')}; add --help to see how it is called"


def _reader_left() -> int:
    """Whoever read the output has gone, such as `head`; nothing more can be told to anybody."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.FAILED


if __name__ == "__main__":
    sys.exit(main())
