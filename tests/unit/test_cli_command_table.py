"""The list of commands: what it says of each is what the command says, and one command does not load the others."""

import subprocess
import sys

import pytest
import typer

from services.cli.command_table import COMMANDS, app_for

WAIT_S = 60.0
HEAVY = ("pyarrow", "numpy", "sqlalchemy", "yaml", "services.eventstore", "services.projection", "services.cli.demo")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_a_command_is_its_own(name):
    loaded = COMMANDS[name].load()
    own = loaded.info.help if isinstance(loaded, typer.Typer) else loaded.__doc__.split("\n")[0]
    assert COMMANDS[name].help == own


def every_command():
    """All of them, those of groups too."""
    for name, command in COMMANDS.items():
        loaded = command.load()
        inner = loaded.registered_commands if isinstance(loaded, typer.Typer) else []
        yield name
        yield from (f"{name} {each.name}" for each in inner)


def test_every_command_explains_itself(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    silent = []
    for command in every_command():
        arguments = [*command.split(), "--help"]
        app_for(arguments)(arguments, prog_name="meterlog", standalone_mode=False)
        if f"Usage: meterlog {command}" not in capsys.readouterr().out:
            silent.append(command)
    assert silent == []


@pytest.mark.parametrize("arguments", [[], ["--help"], ["usage", "--help"], ["meters", "list"], ["periods", "show"]])
def test_a_question_loads_nothing_heavy(arguments):
    asks = (
        "import sys\n"
        "from services.cli.command_table import app_for\n"
        f"app_for({arguments})\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


def test_a_command_that_does_not_exist_is_told_with_one_that_does(capsys):
    with pytest.raises(typer.TyperException, match="No such command 'usgae'") as refused:
        app_for(["usgae"])(["usgae"], standalone_mode=False)
    assert "Did you mean 'usage'?" in refused.value.format_message()


def test_the_list_of_all_commands_names_each(capsys):
    app_for([])(["--help"], standalone_mode=False)
    shown = capsys.readouterr().out
    assert [name for name in COMMANDS if name not in shown] == []
