"""`meterlog meters counting`: how far the count of earlier usage is; and whether a command waits for it."""

import os
from typing import Annotated

import typer

from meterlog.aggregator.v1 import aggregator_pb2 as aggregator
from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.connection import connected
from services.cli.counting import counting_text, wait_until_counted
from services.cli.message_document import message_document
from services.cli.screen import Screen

Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait until usage is counted, with a bar; or end when it is decided.")
]


def counting_command(
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until all that is in the log by now is counted, with a bar.")
    ] = False,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Show how far the count of earlier usage is: for new and redefined meters, corrections and backfills."""
    screen = Screen(as_json)
    with connected(var, os.environ) as services:
        found = services.aggregator.call(services.meters.GetCounting, aggregator.GetCountingRequest())
        if wait and found.position < found.head_position:
            wait_until_counted(services, found.head_position, screen)
            found = services.aggregator.call(services.meters.GetCounting, aggregator.GetCountingRequest())
    screen.answer(message_document(found), _state_text(found))


def _state_text(found: aggregator.GetCountingResponse) -> str:
    reached = f"usage is counted up to position {found.position} of {found.head_position}"
    if found.problem:
        return f"{reached}; it stands still: {found.problem}"
    if not found.HasField("counting"):
        return reached
    counting = found.counting
    named = [
        f"{name} {key}"
        for name, keys in (
            ("meter", counting.meters),
            ("correction", counting.corrections),
            ("backfill", counting.backfills),
        )
        for key in keys
    ]
    return f"{reached}; {', '.join(named)}: {counting_text(counting)}"
