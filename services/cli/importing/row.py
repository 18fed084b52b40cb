"""A row of a file of usage, readable or not."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One readable row: `line` is the physical line it starts on, from 1; `number` counts rows, from 0.

    Broken rows are counted too, so that repairing one gives no other row another number. A column that the row does
    not have, or that holds a JSON null, is absent.
    """

    line: int
    number: int
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a row was not recorded: `field` is the usage event's at fault, or empty; `reason` is UPPER_SNAKE."""

    line: int
    field: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """One row that cannot be read, and why; `number` as for a Row."""

    number: int
    problem: Problem
