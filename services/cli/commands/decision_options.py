"""Options of commands that correct usage: which usage events, why, and who decides."""

from typing import Annotated

import typer

Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept for ever.")]
DecidedBy = Annotated[str, typer.Option("--by", envvar="USER", help="Who decides.")]
Ids = Annotated[list[str] | None, typer.Option("--id", help="Id of a usage event of the --source, repeatable.")]
Sources = Annotated[list[str] | None, typer.Option("--source", help="Source, repeatable unless ids are named.")]
MeterName = Annotated[str, typer.Option("--meter", help="Only what this meter counts.")]
Types = Annotated[list[str] | None, typer.Option("--type", help="Only of this type, repeatable.")]
Customers = Annotated[list[str] | None, typer.Option("--customer", help="Only of this customer, repeatable.")]
Start = Annotated[str, typer.Option("--from", help="Only from this day or instant on.")]
End = Annotated[str, typer.Option("--to", help="Only before this day or instant.")]
RecordedFrom = Annotated[str, typer.Option("--recorded-from", help="Only recorded from this day or instant on.")]
RecordedUntil = Annotated[str, typer.Option("--recorded-until", help="Only recorded before this day or instant.")]
Where = Annotated[
    list[str] | None, typer.Option("--where", help='Condition such as "model=large" or "bytes>=100", repeatable.')
]
Zone = Annotated[str, typer.Option("--zone", help="IANA time zone whose days are meant.")]
