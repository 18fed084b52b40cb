"""`meterlog audit`: prove that the log is what was written."""

import os
import signal
import threading
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from services.cli.auditing import (
    SEALED_FOLDER,
    find_key_file,
    find_public_keys,
    find_seal,
    find_store_url,
    public_key_file,
    verification_document,
    verify_log,
)
from services.cli.commands.audit_options import PublicKeys, Sealed, StoreUrl
from services.cli.commands.audit_proofs import check_command, consistency_command, export_command, prove_command
from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.failure import ExitCode, misused
from services.cli.instants import parse_length
from services.cli.screen import Screen
from services.cli.sealing import KEY_NAME, keep_sealing, make_key, seal_once
from services.cli.store_urls import shown_url
from services.eventstore.audit.checkpoint import SealedCheckpoint
from services.eventstore.audit.seal_key import read_seal_key
from services.eventstore.audit.verify import FIRST, Span, Verification
from services.eventstore.event import VERSION_MAX, Position

audit_app = typer.Typer(help="Prove that the log is what was written.")
audit_app.command("prove")(prove_command)
audit_app.command("consistency")(consistency_command)
audit_app.command("export")(export_command)
audit_app.command("check")(check_command)

KeyFile = Annotated[
    Path | None, typer.Option("--key", help="File of the private key; default: METERLOG_SEAL_KEY_FILE, or in --var.")
]

_PAUSE_MIN_S: Final = 1


@audit_app.callback()
def audit() -> None:
    """Prove that the log is what was written."""


@audit_app.command("verify")
def verify_command(
    first: Annotated[
        int, typer.Option("--from", min=1, max=VERSION_MAX, help="First position; earlier ones are taken as given.")
    ] = 1,
    last: Annotated[
        int | None, typer.Option("--to", max=VERSION_MAX, help="Last position; default: the head of this moment.")
    ] = None,
    sealed: Sealed = None,
    public_key: PublicKeys = None,
    store_url: StoreUrl = "",
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Recompute every hash from the stored bytes, and compare with what was sealed. Works while the services run."""
    screen = Screen(as_json)
    if last is not None and last < first:
        raise misused("--from must not lie behind --to")
    span = Span(Position(max(first, FIRST)), None if last is None else Position(last))
    is_own = not store_url
    seal = find_seal(sealed, public_key or (), var, os.environ) if is_own or sealed else None
    url = store_url or find_store_url(var, os.environ)
    with screen.people.status(f"verifying {shown_url(url)}"):
        found = verify_log(url, span, seal)
    screen.answer(verification_document(found), _words(found, is_sealed=seal is not None))
    if not found.verified:
        raise typer.Exit(ExitCode.FAILED)


@audit_app.command("keygen")
def keygen_command(
    key: KeyFile = None,
    name: Annotated[
        str, typer.Option(help="Name that signatures are made under, such as example.com/billing.")
    ] = KEY_NAME,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Create the private key that checkpoints are signed with, and print its public half for those who verify."""
    path = key or find_key_file(var, os.environ)
    public = make_key(path, name)
    document = {"key_file": str(path), "public_key_file": str(public_key_file(path)), "public_key": str(public)}
    words = f"private key in {path}, keep it apart from the log; public key, also in {public_key_file(path)}:"
    Screen(as_json).answer(document, words, str(public))


@audit_app.command("seal")
def seal_command(
    sealed: Sealed = None,
    key: KeyFile = None,
    older_key: Annotated[
        list[str] | None, typer.Option(help="Public key that earlier checkpoints are signed with, or its file.")
    ] = None,
    every: Annotated[str, typer.Option(help="Go on, with this pause, such as 60s; default: seal once.")] = "",
    store_url: StoreUrl = "",
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Sign how long the log is and the root of all its events. Refuses when it is not what was sealed before."""
    screen = Screen(as_json)
    pause = parse_length(every, "--every") if every else None
    if pause is not None and (as_json or pause.total_seconds() < _PAUSE_MIN_S):
        raise misused(f"--every takes {_PAUSE_MIN_S}s or more, and does not go with --json")
    url, folder = store_url or find_store_url(var, os.environ), sealed or var / SEALED_FOLDER
    signer = read_seal_key(key or find_key_file(var, os.environ))
    older_keys = find_public_keys(older_key, var, os.environ) if older_key else ()
    if pause is None:
        with screen.people.status(f"sealing {shown_url(url)}"):
            checkpoint = seal_once(url, folder, signer, older_keys)
        _answer(screen, checkpoint, folder)
        return
    keep_sealing(
        lambda: seal_once(url, folder, signer, older_keys),
        pause,
        _stop_on_signals(),
        lambda _level, text: screen.people.print(text, soft_wrap=True),
    )


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    return stop


def _answer(screen: Screen, checkpoint: SealedCheckpoint | None, folder: Path) -> None:
    if checkpoint is None:
        screen.answer({"size": 0}, "the log has no events yet; nothing was sealed")
        return
    document = {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "folder": str(folder),
        "checkpoint": checkpoint.note,
    }
    screen.answer(document, f"{checkpoint.size} events are sealed in {folder}, root {checkpoint.root.hex()}")


def _words(found: Verification, *, is_sealed: bool) -> Text:
    if found.verified:
        head = f", head {found.head}" if found.head else ""
        sealed = f"; {found.sealed} of them as they were sealed" if is_sealed else "; nothing sealed to compare with"
        return Text.assemble(("verified", "green"), f": {found.events} events{head}{sealed}")
    where = f" from position {found.first_bad_position} on" if found.first_bad_position is not None else ""
    return Text.assemble(("NOT verified", "bold red"), f"{where}: {found.problem}")
