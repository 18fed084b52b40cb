"""An empty log on PostgreSQL for a test: a schema of its own in a database that all tests of a process share."""

from functools import cache
from itertools import count

from services.eventstore.postgres.address import LogAddress
from tests.postgres import fresh_database

_numbers = count(1)
_database = cache(fresh_database)


def fresh_log_url() -> str:
    """The URL of a log that does not exist yet."""
    return f"{_database()}&schema=log_{next(_numbers)}"


def fresh_log() -> LogAddress:
    """The address of a log that does not exist yet."""
    return LogAddress.parse(fresh_log_url())
