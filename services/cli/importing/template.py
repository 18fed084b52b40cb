"""The template language of mapping files: how a text of a usage event is made from a row.

    literal text        stands for itself; a brace is written twice: {{ or }}
    {column}            the text of that column of the row; in NDJSON a nested member is {outer.inner}
    {column:row}        the same, for a column whose name has another meaning here, such as "row" or "load % max"
    {row}               the number of the row, from 0; broken rows are counted, blank lines and the header are not
    {row % 8}           that number modulo a whole number from 1
    {file}              the name of the file, without directories

Nothing is evaluated, so a mapping from a stranger can do no more than choose texts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from services.cli.importing.refusal import MappingRefused
from services.cli.importing.row import Row

TEMPLATE_CHARACTERS_MAX = 4096

_TOKEN = re.compile(r"\{\{|\}\}|\{(?P<placeholder>[^{}]*)\}|(?P<literal>[^{}]+)|(?P<stray>[{}])")
_ROW_MODULO = re.compile(r"row\s*%\s*(?P<modulus>[0-9]{1,18})")
_COLUMN_PREFIX = "column:"


class Part(Protocol):
    """One piece of a template."""

    def text(self, row: Row, file_name: str) -> str | None:
        """Its text for a row; None when the row has no such column."""


@dataclass(frozen=True, slots=True)
class Literal:
    """Text that stands for itself."""

    literal: str

    def text(self, row: Row, file_name: str) -> str | None:  # noqa: ARG002 (the same for every row)
        """The literal."""
        return self.literal


@dataclass(frozen=True, slots=True)
class Column:
    """The text of a column."""

    name: str

    def text(self, row: Row, file_name: str) -> str | None:  # noqa: ARG002 (the same in every file)
        """The row's text, if it has the column."""
        return row.columns.get(self.name)


@dataclass(frozen=True, slots=True)
class RowNumber:
    """The number of the row."""

    def text(self, row: Row, file_name: str) -> str | None:  # noqa: ARG002 (the same in every file)
        """The number, from 0."""
        return str(row.number)


@dataclass(frozen=True, slots=True)
class RowNumberModulo:
    """The number of the row modulo a whole number."""

    modulus: int

    def text(self, row: Row, file_name: str) -> str | None:  # noqa: ARG002 (the same in every file)
        """The remainder, from 0 to the modulus less 1."""
        return str(row.number % self.modulus)


@dataclass(frozen=True, slots=True)
class FileName:
    """The name of the file."""

    def text(self, row: Row, file_name: str) -> str | None:  # noqa: ARG002 (the same for every row)
        """The name, without directories."""
        return file_name


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template."""

    parts: tuple[Part, ...]

    def render(self, row: Row, file_name: str) -> str | None:
        """The text for a row; None when the row lacks one of the columns."""
        if len(self.parts) == 1:
            return self.parts[0].text(row, file_name)
        texts = [part.text(row, file_name) for part in self.parts]
        return None if None in texts else "".join(text for text in texts if text is not None)

    @property
    def columns(self) -> frozenset[str]:
        """The columns that it reads."""
        return frozenset(part.name for part in self.parts if isinstance(part, Column))

    @property
    def is_same_for_every_row(self) -> bool:
        """Whether it makes the same text of every row of a file."""
        return all(isinstance(part, Literal | FileName) for part in self.parts)


def parse_template(text: str, key: str) -> Template:
    """The template of a text; raises MappingRefused that names `key`."""
    if not 1 <= len(text) <= TEMPLATE_CHARACTERS_MAX:
        raise MappingRefused(f"{key} is empty or longer than {TEMPLATE_CHARACTERS_MAX} characters", field=key)
    return Template(tuple(_parts(text, key)))


def _parts(text: str, key: str) -> Iterator[Part]:
    for token in _TOKEN.finditer(text):
        if token["stray"]:
            raise MappingRefused(
                f'{key} has a "{token["stray"]}" without its partner; write it twice to mean the brace', field=key
            )
        if token["placeholder"] is not None:
            yield _placeholder(token["placeholder"], key)
        else:
            yield Literal(token["literal"] or token[0][0])


def _placeholder(written: str, key: str) -> Part:
    name = written.strip()
    if name.startswith(_COLUMN_PREFIX):
        return Column(name.removeprefix(_COLUMN_PREFIX))
    if name == "row":
        return RowNumber()
    if name == "file":
        return FileName()
    if "%" in name or not name:
        return _modulo(name, key)
    return Column(name)


def _modulo(name: str, key: str) -> Part:
    match = _ROW_MODULO.fullmatch(name)
    if match is None or int(match["modulus"]) == 0:
        raise MappingRefused(
            f"{key} has the placeholder {{{name}}}; use {{column}}, {{row}}, {{row % 8}}, {{file}} or {{column:name}}",
            field=key,
        )
    return RowNumberModulo(int(match["modulus"]))
