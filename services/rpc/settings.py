"""Settings of a service: METERLOG_* variables, declared in tables, checked when read, listed by --help."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.kernel.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable of the environment, its default as text, and what it means."""

    name: str
    default: str
    description: str


class Settings:
    """The values of declared settings; every reader raises InvalidInput that names the variable."""

    def __init__(self, declared: Sequence[Setting], environment: Mapping[str, str]) -> None:
        self.declared = tuple(declared)
        self._values = {setting.name: environment.get(setting.name, setting.default) for setting in declared}

    def text(self, name: str) -> str:
        """The value as it is, without surrounding blanks."""
        return self._values[name].strip()

    def integer(self, name: str, minimum: int = 0) -> int:
        """A whole number, at least `minimum`."""
        text = self.text(name)
        if not (text.isascii() and text.isdigit() and int(text) >= minimum):
            raise _bad(name, text, f"a whole number, {minimum} or more")
        return int(text)

    def seconds(self, name: str) -> int:
        """A number of seconds, 0 or more."""
        return self.integer(name)

    def flag(self, name: str) -> bool:
        """true or false."""
        text = self.text(name).lower()
        if text not in ("true", "false"):
            raise _bad(name, text, "true or false")
        return text == "true"

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of `choices`."""
        text = self.text(name)
        if text not in choices:
            raise _bad(name, text, "one of " + ", ".join(choices))
        return text

    def path(self, name: str) -> Path:
        """A path of the file system; need not exist."""
        text = self.text(name)
        if not text:
            raise _bad(name, text, "a path")
        return Path(text)


def help_text(service: str, declared: Sequence[Setting]) -> str:
    """What --help prints: every setting with its default and meaning."""
    lines = [f"python -m services.{service}", "", "Settings, from the environment:"]
    for setting in declared:
        lines += [f"  {setting.name}={setting.default}", f"      {setting.description}"]
    return "\n".join(lines)


def _bad(name: str, text: str, rule: str) -> InvalidInput:
    return InvalidInput(f'{name} is "{text[:60]}"; it must be {rule}', field=name, reason="BAD_SETTING")
