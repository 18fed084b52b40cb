"""What comes from outside is shown as it is, and never taken for a command to the screen."""

import pytest
from rich.progress import Progress, TextColumn
from rich.table import Table

from services.cli.screen import Screen

ODD = "[/bold] acme [red]"


def test_brackets_in_keys_and_messages_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(box=None)
    table.add_column(ODD)
    table.add_row(ODD)
    Screen(as_json=False).answer({}, table, ODD)
    assert capsys.readouterr().out.count(ODD) == 3


def test_brackets_in_a_file_name_do_not_disturb_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(TextColumn("{task.description}", markup=False), console=Screen(as_json=False).people) as bars:
        bars.add_task(ODD)
    assert ODD in capsys.readouterr().out
