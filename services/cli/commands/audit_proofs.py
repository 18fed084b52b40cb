"""`meterlog audit prove`, `consistency`, `export` and `check`: proofs for those who do not have the log."""

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from services.cli.archiving import check_file, export_audit
from services.cli.auditing import SEALED_FOLDER, find_public_keys, find_store_url, prove, prove_began_as, read_proof
from services.cli.commands.audit_options import PublicKeys, Sealed, StoreUrl
from services.cli.commands.log import check_words
from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.event_text import event_document, event_text
from services.cli.failure import CommandFailed, ExitCode, misused
from services.cli.screen import Screen
from services.cli.whole_file import whole_file
from services.eventstore.audit.checkpoint import SealedCheckpoint
from services.eventstore.audit.note import VerifierKey
from services.eventstore.audit.proof import (
    EventProof,
    Proof,
    checked_consistency_proof,
    checked_event_proof,
)
from services.eventstore.audit.proof_file import proof_text
from services.eventstore.audit.verify import Seal
from services.eventstore.event import VERSION_MAX, Position

Output = Annotated[Path | None, typer.Option("--output", "-o", help="New file to write; default: standard output.")]


def prove_command(
    event: Annotated[str, typer.Argument(help="Position, event id, STREAM/VERSION, or a stream: its newest event.")],
    output: Output = None,
    sealed: Sealed = None,
    public_key: PublicKeys = None,
    store_url: StoreUrl = "",
    var: Var = DEFAULT_VAR,
) -> None:
    """Write the proof that an event is in the sealed log: a file that can be checked without the log."""
    seal = _seal(sealed, public_key, var)
    _write(prove(store_url or find_store_url(var, os.environ), event, seal), output)


def consistency_command(
    old: Annotated[str, typer.Argument(help="Size of a checkpoint, or the file of one.")],
    new: Annotated[str, typer.Argument(help="Size of a checkpoint, or the file of one.")],
    output: Output = None,
    sealed: Sealed = None,
    public_key: PublicKeys = None,
    var: Var = DEFAULT_VAR,
) -> None:
    """Prove that one log had both checkpoints: that nothing was taken back between them."""
    _write(prove_began_as(old, new, _seal(sealed, public_key, var)), output)


def export_command(
    target: Annotated[str, typer.Argument(metavar="FILE", help="New file, or - for standard output.")],
    first: Annotated[
        int | None, typer.Option("--from", min=1, max=VERSION_MAX, help="First position; default: that of the log.")
    ] = None,
    last: Annotated[
        int | None, typer.Option("--to", max=VERSION_MAX, help="Last position; default: the last that is sealed.")
    ] = None,
    sealed: Sealed = None,
    public_key: PublicKeys = None,
    store_url: StoreUrl = "",
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Write sealed events and their signed checkpoint as one file, which proves itself to who has the public key."""
    if as_json and target == "-":
        raise misused("--json and - both want standard output; name a file")
    screen, seal = Screen(as_json or target == "-"), _seal(sealed, public_key, var)
    end = export_audit(
        store_url or find_store_url(var, os.environ),
        target,
        seal.folder,
        seal.keys,
        screen,
        first=None if first is None else Position(first),
        last=None if last is None else Position(last),
    ).end
    words = f"exported {end.events} events, up to position {end.position}, with their signed checkpoint, into {target}"
    if target == "-":
        screen.people.print(words, soft_wrap=True)
    else:
        screen.answer({"file": target, "events": end.events, "position": end.position, "root": end.root.hex()}, words)


def check_command(
    file: Annotated[str, typer.Argument(help="Proof of an event, proof of consistency, or archive.")],
    public_key: PublicKeys = None,
    origin: Annotated[
        str,
        typer.Option(help="Log that must be meant: the first line of its checkpoints. A key may seal several."),
    ] = "",
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Check a file that `prove`, `consistency` or `export` wrote. Needs the public key, and nothing else."""
    screen, keys = Screen(as_json), find_public_keys(public_key or (), var, os.environ)
    proof = read_proof(Path(file)) if file != "-" else None
    if proof is not None:
        _answer(screen, proof, keys, origin)
        return
    found = check_file(file, screen, keys)
    if found.verified:
        _require_origin(found.seal.partition("\n")[0], origin)
    screen.answer(asdict(found), check_words(found, is_signature_checked=True))
    if not found.verified:
        raise typer.Exit(ExitCode.FAILED)


def _seal(sealed: Path | None, public_key: list[str] | None, var: Path) -> Seal:
    return Seal(sealed or var / SEALED_FOLDER, find_public_keys(public_key or (), var, os.environ))


def _write(proof: Proof, output: Path | None) -> None:
    text = proof_text(proof)
    if output is None:
        sys.stdout.write(text)
        return
    with whole_file(output) as file:
        file.write(text.encode())
    Screen(as_json=False).people.print(f"the proof is in {output}; `meterlog audit check {output}` checks it")


def _answer(screen: Screen, proof: Proof, keys: tuple[VerifierKey, ...], origin: str) -> None:
    if isinstance(proof, EventProof):
        checkpoint = checked_event_proof(proof, keys)
        _require_origin(checkpoint.origin, origin)
        _answer_event(screen, proof, checkpoint)
    else:
        old, new = checked_consistency_proof(proof, keys)
        _require_origin(new.origin, origin)
        _answer_consistency(screen, old, new)


def _require_origin(found: str, wanted: str) -> None:
    if wanted not in ("", found):
        raise CommandFailed(f"this is of the log {found}, not of {wanted}", reason="ANOTHER_LOG")


def _answer_event(screen: Screen, proof: EventProof, checkpoint: SealedCheckpoint) -> None:
    document = {
        "verified": True,
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "index": proof.index,
        "event": event_document(proof.event),
    }
    words = f": event {proof.index + 1} of the {checkpoint.size} that were sealed of {checkpoint.origin}"
    screen.answer(document, Text.assemble(("verified", "green"), words), event_text(proof.event))


def _answer_consistency(screen: Screen, old: SealedCheckpoint, new: SealedCheckpoint) -> None:
    document = {"verified": True, "origin": new.origin, "old_size": old.size, "size": new.size}
    words = f": {new.origin} of {new.size} events began with the {old.size} that were sealed before"
    screen.answer(document, Text.assemble(("verified", "green"), words))
