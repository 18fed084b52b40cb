"""Where a command writes: for people, or one JSON document on stdout with everything else on stderr."""

import json
import sys

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.text import Text

from services.cli.failure import CommandFailed


class Screen:
    """The output of one command. `people` takes progress and remarks; `answer` takes the result, once.

    Texts are shown as they are: keys, file names and messages come from outside, and brackets in them are no markup.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.people = Console(stderr=as_json, highlight=False, markup=False)

    def answer(self, document: object, *renderables: RenderableType) -> None:
        """The result: `document` under `--json`, else what a person reads."""
        if self.as_json:
            write_document(document)
            return
        for renderable in renderables:
            self.people.print(renderable, soft_wrap=isinstance(renderable, str | Text))


def write_document(document: object) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def show_failure(failure: CommandFailed, as_json: bool) -> None:
    """One line on stderr, one more for each wrong field; under `--json` a document on stdout as well."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[bold red]error:[/] {escape(failure.message)}")
    for violation in failure.violations:
        if violation.description != failure.message:
            console.print(f"  {escape(violation.field)}: {escape(violation.description)}")
    if as_json:
        write_document(failure.document())
