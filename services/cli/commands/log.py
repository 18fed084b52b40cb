"""`meterlog log`: back the log up, move it to another store, look at what it holds."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from services.cli.addresses import read_running
from services.cli.archiving import STANDARD, check_file, export_log, import_log, summarise_log
from services.cli.auditing import find_public_keys, find_store_url
from services.cli.commands.audit_options import PublicKeys
from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.failure import ExitCode, misused
from services.cli.instants import instant_text
from services.cli.log_summary import LogSummary
from services.cli.screen import Screen
from services.cli.store_urls import shown_url
from services.eventstore.archive.check import ArchiveCheck
from services.eventstore.archive.exporting import Span
from services.eventstore.audit.note import VerifierKey
from services.eventstore.event import BEGINNING, VERSION_MAX, Position

log_app = typer.Typer(help="Back the log up, move it to another store, look at what it holds.")

Store = Annotated[
    str, typer.Option("--store", "--store-url", help="URL of the log; default: that of the platform in --var.")
]


@log_app.callback()
def log() -> None:
    """Back the log up, move it to another store, look at what it holds."""


@log_app.command("export")
def export_command(
    target: Annotated[str, typer.Argument(metavar="FILE", help="New file, or - for standard output.")],
    after: Annotated[int, typer.Option(help="Begin behind this position.", min=0, max=VERSION_MAX)] = BEGINNING,
    until: Annotated[
        int | None, typer.Option(help="End at this position; default: the head of this moment.", max=VERSION_MAX)
    ] = None,
    store: Store = "",
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Write the log as one verified, portable file. Works while the services run."""
    screen = _screen(as_json, target)
    url = store or find_store_url(var, os.environ)
    span = Span(Position(after), None if until is None else Position(until))
    exported = export_log(url, target, span, screen)
    end = exported.end
    document = {
        "file": target,
        "after": exported.header.after,
        "position": end.position,
        "events": end.events,
        "commits": end.commits,
        "chain": end.chain.hex(),
        "size": end.size,
        "root": end.root.hex(),
    }
    words = f"exported {end.events} events, up to position {end.position}, into {target}; root {end.root.hex()}"
    _answer(screen, target, document, words)


@log_app.command("import")
def import_command(
    source: Annotated[str, typer.Argument(metavar="FILE", help="Archive, or - for standard input.")],
    store: Store = "",
    public_key: PublicKeys = None,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Take an archive over into an empty log, verifying it on the way. Repeat it when it was interrupted."""
    screen = Screen(as_json)
    url = store or find_store_url(var, os.environ)
    _require_stopped(var, url)
    imported = import_log(source, url, screen, _keys(public_key, var))
    document = {
        "store": shown_url(url),
        "events": imported.end.events,
        "is_changed": imported.before != imported.after,
        "position": imported.after.position,
        "chain": imported.after.chain.hex(),
        "root": imported.end.root.hex(),
    }
    took = "took over" if imported.before != imported.after else "had already"
    words = (
        f"the log {took} all {imported.end.events} events of the archive and ends at position "
        f"{imported.after.position}. Start the services on it; where one refuses its tables (LOG_REWOUND), delete "
        "them, and they are folded anew"
    )
    screen.answer(document, words)


@log_app.command("check")
def check_command(
    source: Annotated[str, typer.Argument(metavar="FILE", help="Archive, or - for standard input.")],
    public_key: PublicKeys = None,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Check an archive from its first byte to its last, without any log."""
    screen = Screen(as_json)
    found = check_file(source, screen, _keys(public_key, var))
    screen.answer(asdict(found), check_words(found, is_signature_checked=bool(public_key)))
    if not found.verified:
        raise typer.Exit(ExitCode.FAILED)


@log_app.command("info")
def info_command(store: Store = "", var: Var = DEFAULT_VAR, as_json: Json = False) -> None:
    """Count what the log holds: events by category and type, bytes, first and last recording."""
    screen = Screen(as_json)
    url = store or find_store_url(var, os.environ)
    with screen.people.status(f"reading {shown_url(url)}"):
        found = summarise_log(url)
    screen.answer(_summary_document(found), *_summary_words(found))


def check_words(found: ArchiveCheck, *, is_signature_checked: bool) -> Text:
    """The outcome of a check for people."""
    if not found.verified:
        line = "" if found.first_bad_line is None else f" at line {found.first_bad_line}"
        position = "" if found.first_bad_position is None else f", position {found.first_bad_position}"
        return Text.assemble(("NOT verified", "bold red"), f"{line}{position}: {found.problem}")
    seal = "no signed checkpoint in it"
    if found.seal:
        seal = "the checkpoint's signature holds" if is_signature_checked else "its signature was not checked: no key"
    behind = f" behind the first {found.first_ordinal}" if found.first_ordinal else ""
    return Text.assemble(("verified", "green"), f": {found.events} events{behind}, root {found.root}; {seal}")


def _keys(public_key: list[str] | None, var: Path) -> tuple[VerifierKey, ...]:
    """The keys that were given; none is looked for."""
    return find_public_keys(public_key, var, os.environ) if public_key else ()


def _screen(as_json: bool, target: str) -> Screen:
    if as_json and target == STANDARD:
        raise misused("--json and - both want standard output; name a file")
    return Screen(as_json or target == STANDARD)


def _answer(screen: Screen, target: str, document: dict[str, object], words: str) -> None:
    if target == STANDARD:
        screen.people.print(words, soft_wrap=True)
    else:
        screen.answer(document, words)


def _require_stopped(var: Path, url: str) -> None:
    running = read_running(var)
    if running and running.store_url == url:
        raise misused(f"the platform in {var} is running on {shown_url(url)}; stop it first", "PLATFORM_RUNS")


def _summary_document(found: LogSummary) -> dict[str, object]:
    return {
        "position": found.position,
        "chain": found.chain,
        "events": found.events,
        "payload_bytes": found.payload_bytes,
        "first_recorded_at": found.first_recorded_at and instant_text(found.first_recorded_at),
        "last_recorded_at": found.last_recorded_at and instant_text(found.last_recorded_at),
        "types": [
            {"category": category, "type": name, "schema_version": version, "events": count}
            for category, name, version, count in found.counts
        ],
    }


def _summary_words(found: LogSummary) -> tuple[str, Table]:
    table = Table()
    for name in ("category", "type", "version"):
        table.add_column(name)
    table.add_column("events", justify="right")
    for category, name, version, count in found.counts:
        table.add_row(Text(category), Text(name), str(version), str(count))
    recorded = ""
    if found.first_recorded_at and found.last_recorded_at:
        recorded = f", recorded {instant_text(found.first_recorded_at)} to {instant_text(found.last_recorded_at)}"
    words = f"{found.events} events up to position {found.position}, {found.payload_bytes} payload bytes{recorded}"
    return words, table
