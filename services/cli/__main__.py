"""The `meterlog` command: how it begins, and how it ends."""

import os
import sys
from pathlib import Path
from typing import Final

import typer

from services.cli.command_table import app_for
from services.cli.failure import CommandFailed, ExitCode, misused
from services.cli.proxy import no_proxy_on_loopback
from services.cli.screen import show_failure
from services.kernel.errors import DomainError, InvalidInput

INTERRUPTED: Final = 130


def main() -> int:
    """Run the command line; 0 when done, 1 when refused or failed, 2 when it was called wrongly."""
    _open_what_is_closed()
    arguments = sys.argv[1:] or ["--help"]
    os.environ.update(no_proxy_on_loopback(os.environ))
    try:
        return int(app_for(arguments)(arguments, prog_name="meterlog", standalone_mode=False) or ExitCode.DONE)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return _reader_left()
    except (CommandFailed, DomainError, OSError, typer.TyperException) as error:
        return _told(_failure(error), as_json="--json" in arguments)


def _open_what_is_closed() -> None:
    """Nothing is read from a standard stream that the caller closed, and what is written there is lost.

    Each gets its own number again, in this order, so that no file or socket is taken for it later.
    """
    nowhere = Path(os.devnull)
    sys.stdin = sys.stdin or nowhere.open()
    sys.stdout = sys.stdout or nowhere.open("w")
    sys.stderr = sys.stderr or nowhere.open("w")


def _told(failure: CommandFailed, *, as_json: bool) -> int:
    """The exit code, and all that can be written: the disk may be full, and a reader gone."""
    try:
        show_failure(failure, as_json)
    except OSError:
        _reader_left()
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
