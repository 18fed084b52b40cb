"""Options that the audit commands share."""

from pathlib import Path
from typing import Annotated

import typer

PublicKeys = Annotated[
    list[str] | None,
    typer.Option(
        "--public-key",
        help="Key that signatures must be made with, or a file of such keys; repeatable; default: that of --var.",
    ),
]
Sealed = Annotated[
    Path | None, typer.Option("--sealed", help="Folder that the log was sealed into; default: `audit` in --var.")
]
StoreUrl = Annotated[str, typer.Option("--store-url", help="URL of the log; default: that of the platform in --var.")]
