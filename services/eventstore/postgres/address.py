"""Where a log on PostgreSQL is: a server, a database and a schema, from a URL. A password is never shown."""

import re
from dataclasses import dataclass, field
from hashlib import sha256

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from services.kernel.errors import InvalidInput

DEFAULT_SCHEMA = "meterlog_log"

_SCHEMA = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")
_DATABASE_MISSING = "postgres"


@dataclass(frozen=True, slots=True)
class LogAddress:
    """The parameters of a connection, and the schema that holds the log. Its text can be shown to anybody."""

    parameters: dict[str, str] = field(repr=False)
    schema: str

    @staticmethod
    def parse(url: str) -> "LogAddress":
        """The address in `postgresql://[user[:password]@]host[:port]/database[?schema=…&…]`.

        Whatever else stands behind the question mark is a parameter of libpq. Raises InvalidInput, which repeats
        nothing of the URL, for it may hold a password.
        """
        address, _, query = url.partition("?")
        options = [option for option in query.split("&") if option]
        schemas = [option.removeprefix("schema=") for option in options if option.startswith("schema=")]
        others = "&".join(option for option in options if not option.startswith("schema="))
        return LogAddress(_parameters(f"{address}?{others}" if others else address), _schema(schemas))

    def __str__(self) -> str:
        host = self.parameters.get("host") or self.parameters.get("hostaddr") or "its default address"
        port = f":{self.parameters['port']}" if "port" in self.parameters else ""
        database = self.parameters.get("dbname") or self.parameters.get("user") or _DATABASE_MISSING
        return f'in schema "{self.schema}" of database "{database}" at {host}{port}'

    def lock_key(self, purpose: str) -> int:
        """The number of an advisory lock of this log: one for each purpose, the same in every process."""
        digest = sha256(f"meterlog {purpose} {self.schema}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)


def _schema(named: list[str]) -> str:
    schema = named[-1] if named else DEFAULT_SCHEMA
    if not _SCHEMA.fullmatch(schema):
        raise InvalidInput(
            'the schema in the event store\'s URL is no name; use lower-case letters, digits and "_", at most 63, '
            'not beginning with a digit or "pg_"',
            field="url",
        )
    return schema


def _parameters(url: str) -> dict[str, str]:
    try:
        found = conninfo_to_dict(url)
    except ProgrammingError:
        # libpq quotes what it could not read, and that may be the password: its error goes no further.
        found = None
    if found is None:
        raise InvalidInput(
            "the event store's URL cannot be read; write postgresql://user:password@host:port/database, with "
            "%-escapes for signs such as @ : / % in user and password",
            field="url",
        )
    return {name: str(value) for name, value in found.items() if value is not None}
