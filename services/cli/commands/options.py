"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Final

import typer

DEFAULT_VAR: Final = Path("var")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
Var = Annotated[
    Path, typer.Option("--var", envvar="METERLOG_VAR", help="Folder of the platform that `meterlog up` started.")
]
