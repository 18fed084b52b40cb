"""Tables as the commands print them: one line an item, quantities to the right."""

from collections.abc import Iterable, Sequence

from rich.table import Table

NOTHING = "–"


def listing(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> Table:
    """A table; a column whose name ends in "#" is aligned to the right, and loses that sign."""
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name.removesuffix("#"), justify="right" if name.endswith("#") else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def count_text(count: int, singular: str, plural: str = "") -> str:
    """ "1 period", "2 periods"; `plural` is the singular with an "s" unless given."""
    return f"{count} {singular if count == 1 else plural or singular + 's'}"


def properties_text(properties: Iterable[tuple[str, str]]) -> str:
    """ "model=large region=eu", by key."""
    return " ".join(f"{key}={value}" for key, value in sorted(properties))
