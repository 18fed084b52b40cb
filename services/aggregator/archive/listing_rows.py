"""What the archive holds, in SQL: the truth about it, beside the tables of projections and outliving all of them.

Files are written first and listed then, with the archive's position, in one transaction. They are no projection: the
same log may be cut into other files.
"""

from collections.abc import Sequence

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    delete,
    insert,
    inspect,
    select,
    update,
)

from services.aggregator.archive.archived_file import ArchivedFile, Listing
from services.eventstore.event import Position
from services.kernel.errors import Conflict
from services.projection.columns import TEXT

FORMAT = 1
"""The form of the files; an archive of another form is written anew."""

NAMES_MAX = 500
"""Names in one IN list."""

MOVED = "the archive of usage was changed by somebody else; start again from what is listed"

_METADATA = MetaData()
_ONLY = 1

STATE = Table(
    "usage_archive_state",
    _METADATA,
    Column("only", Integer, primary_key=True, autoincrement=False),
    Column("format", Integer, nullable=False),
    Column("place", TEXT, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    Column("first_us", BigInteger, nullable=False),
    Column("decisions", BigInteger, nullable=False),
)

FILES = Table(
    "usage_archive_files",
    _METADATA,
    Column("name", TEXT, primary_key=True),
    Column("after", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("start_us", BigInteger, nullable=False),
    Column("end_us", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("footer_sha256", LargeBinary, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    Column("is_removed", Integer, nullable=False),
)


def create_tables(connection: Connection) -> None:
    """Create what is missing."""
    _METADATA.create_all(connection)


def are_tables_there(connection: Connection) -> bool:
    """Whether anything was ever listed."""
    return inspect(connection).has_table(FILES.name)


def read_listing(connection: Connection, place: str) -> Listing | None:
    """What is listed; None when there is nothing yet, or an archive of another form or at another place."""
    state = connection.execute(select(STATE)).one_or_none()
    if state is None or (state.format, state.place) != (FORMAT, place):
        return None
    rows = connection.execute(select(FILES).order_by(FILES.c.start_us, FILES.c.after)).all()
    files = tuple(
        ArchivedFile(
            row.name,
            Position(row.after),
            Position(row.until),
            row.start_us,
            row.end_us,
            row.rows,
            row.size,
            row.sha256,
            row.footer_sha256,
            row.leaf,
        )
        for row in rows
        if not row.is_removed
    )
    removed = tuple(row.name for row in rows if row.is_removed)
    return Listing(Position(state.position), state.leaf, state.first_us, state.decisions, files, removed)


def former_place(connection: Connection) -> str | None:
    """Where the archive that is listed lies, whatever its form."""
    place: str | None = connection.execute(select(STATE.c.place)).scalar_one_or_none()
    return place


def begin_listing(connection: Connection, place: str, listing: Listing, *, keeps_removed: bool) -> None:
    """Begin anew with an empty archive; what was listed is removed, or is of no concern any more."""
    if keeps_removed:
        connection.execute(update(FILES).values(is_removed=1))
    else:
        connection.execute(delete(FILES))
    connection.execute(delete(STATE))
    row = {"position": listing.position, "leaf": listing.leaf, "first_us": listing.first_us}
    connection.execute(insert(STATE).values(only=_ONLY, format=FORMAT, place=place, decisions=listing.decisions, **row))


def move_listing(connection: Connection, before: Listing, after: Listing) -> None:
    """Bring what is listed from `before` to `after`.

    Raises Conflict when somebody else moved it meanwhile, or replaced one of the files that are replaced now.
    """
    moved = connection.execute(
        update(STATE)
        .where(STATE.c.position == before.position, STATE.c.first_us == before.first_us)
        .values(position=after.position, leaf=after.leaf, first_us=after.first_us, decisions=after.decisions)
    )
    if moved.rowcount != 1:
        raise Conflict(MOVED)
    known, listed = {file.name for file in before.files}, {file.name for file in after.files}
    for names in _parts(sorted(known - listed)):
        there = update(FILES).where(FILES.c.name.in_(names), FILES.c.is_removed == 0)
        if connection.execute(there.values(is_removed=1)).rowcount != len(names):
            raise Conflict(MOVED)
    added = [_row(file) for file in after.files if file.name not in known]
    if added:
        connection.execute(insert(FILES), added)


def forget_removed(connection: Connection, names: Sequence[str]) -> None:
    """Strike files that are gone."""
    for some in _parts(names):
        connection.execute(delete(FILES).where(FILES.c.name.in_(some), FILES.c.is_removed == 1))


def _row(file: ArchivedFile) -> dict[str, str | int | bytes]:
    return {
        "name": file.name,
        "after": file.after,
        "until": file.until,
        "start_us": file.start_us,
        "end_us": file.end_us,
        "rows": file.rows,
        "size": file.size,
        "sha256": file.sha256,
        "footer_sha256": file.footer_sha256,
        "leaf": file.leaf,
        "is_removed": 0,
    }


def _parts(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[start : start + NAMES_MAX] for start in range(0, len(names), NAMES_MAX)]
