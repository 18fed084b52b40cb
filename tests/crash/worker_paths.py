"""Where a worker process keeps what it leaves behind."""

from pathlib import Path
from typing import Protocol


class Named(Protocol):
    """Whoever has a folder and a name in it."""

    @property
    def folder(self) -> str: ...

    @property
    def name(self) -> str: ...


def history_path(order: Named) -> Path:
    """The history of all lives of a worker."""
    return Path(order.folder) / f"{order.name}.history"


def complaints_path(order: Named) -> Path:
    """What a worker wrote to standard error."""
    return Path(order.folder) / f"{order.name}.errors"


def database_path(order: Named) -> Path:
    """The tables of a worker's projection."""
    return Path(order.folder) / f"{order.name}.tables.db"
