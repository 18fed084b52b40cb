"""`meterlog invoices`: list them, or show one as a person reads it."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from meterlog.rating.v1 import rating_pb2 as rating
from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.connection import connected
from services.cli.invoices import (
    invoice_document,
    invoice_page,
    invoices_table,
    list_invoices,
    read_invoice,
    zone_of,
    zones_of,
)
from services.cli.screen import Screen

invoices_app = typer.Typer(help="List invoices, or show one as a person reads it.")


class State(StrEnum):
    """Where a listed invoice stands."""

    ANY = "any"
    DRAFT = "draft"
    FINALIZED = "finalized"


_STATES = {
    State.ANY: rating.INVOICE_STATE_UNSPECIFIED,
    State.DRAFT: rating.INVOICE_STATE_DRAFT,
    State.FINALIZED: rating.INVOICE_STATE_FINALIZED,
}


@invoices_app.callback(invoke_without_command=True)
def invoices(context: typer.Context, var: Var = DEFAULT_VAR, as_json: Json = False) -> None:
    """List invoices, or show one as a person reads it."""
    if context.invoked_subcommand is None:
        _list(var, "", State.ANY, as_json)


@invoices_app.command("list")
def list_command(
    customer: Annotated[str, typer.Option(help="Only of this customer.")] = "",
    state: Annotated[State, typer.Option(help="Only in this state.")] = State.ANY,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """List invoices by period, customer and id."""
    _list(var, customer, state, as_json)


@invoices_app.command("show")
def show_command(
    invoice: Annotated[str, typer.Argument(help="Id or number.")], var: Var = DEFAULT_VAR, as_json: Json = False
) -> None:
    """Show one invoice with how each amount came about."""
    with connected(var, os.environ) as services:
        found = read_invoice(services, invoice)
        zone = zone_of(services, found.customer)
    Screen(as_json).answer(invoice_document(found), invoice_page(found, zone))


def _list(var: Path, customer: str, state: State, as_json: bool) -> None:
    with connected(var, os.environ) as services:
        found = list_invoices(services, customer, _STATES[state])
        zones = zones_of(services, found)
    Screen(as_json).answer([invoice_document(invoice) for invoice in found], invoices_table(found, zones))
