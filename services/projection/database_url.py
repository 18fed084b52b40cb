"""The URL of read models in PostgreSQL: whom to connect to, and the schema of their owner."""

import re
from dataclasses import dataclass, field
from typing import Final

from services.kernel.errors import InvalidInput

FIELD: Final = "METERLOG_DATABASE_URL"
SCHEMA: Final = "meterlog"
SCHEMES: Final = ("postgresql", "postgres")

_NAME: Final = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,39}")
_SCHEMA_OPTION: Final = "schema="


@dataclass(frozen=True, slots=True)
class TablesAddress:
    """A server, a database and a schema. Its text can be shown to anybody; `conninfo` may hold a password."""

    conninfo: str = field(repr=False)
    schema: str
    shown: str

    def __str__(self) -> str:
        return self.shown

    @staticmethod
    def parse(url: str, owner: str) -> "TablesAddress":
        """The address of an owner's read models; raises InvalidInput, which repeats nothing that may be secret."""
        try:
            from psycopg import ProgrammingError
            from psycopg.conninfo import conninfo_to_dict, make_conninfo
        except ImportError as error:
            raise InvalidInput(
                "read models in PostgreSQL need the package psycopg; install meterlog[postgres]", field=FIELD
            ) from error
        plain_url, schema = _split(url, owner)
        try:
            parameters = conninfo_to_dict(plain_url)
        except ProgrammingError:
            parameters = None  # libpq quotes what it could not read, and that may be the password
        if parameters is None:
            raise InvalidInput(
                "the URL of the read models cannot be read; write postgresql://user:password@host:port/database, with "
                "%-escapes for signs such as @ : / % in user and password",
                field=FIELD,
            )
        database = parameters.get("dbname") or parameters.get("user") or "postgres"
        host = parameters.get("host") or parameters.get("hostaddr") or "its default address"
        port = f":{parameters['port']}" if parameters.get("port") else ""
        shown = f'in schema "{schema}" of database "{database}" at {host}{port}'
        return TablesAddress(make_conninfo("", **parameters), schema, shown)


def is_postgres(url: str) -> bool:
    """Whether the URL names a PostgreSQL database."""
    return url.partition("://")[0] in SCHEMES


def _split(url: str, owner: str) -> tuple[str, str]:
    """The URL without its schema, and the schema of the owner."""
    address, _, query = url.partition("?")
    options = [option for option in query.split("&") if option]
    names = [option.removeprefix(_SCHEMA_OPTION) for option in options if option.startswith(_SCHEMA_OPTION)]
    name = names[-1] if names else SCHEMA
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            "the schema in the URL of the read models is no name; use lower-case letters, digits and "
            '"_", at most 40, not beginning with a digit or "pg_"',
            field=FIELD,
        )
    others = "&".join(option for option in options if not option.startswith(_SCHEMA_OPTION))
    return (f"{address}?{others}" if others else address), f"{name}_{owner}"
