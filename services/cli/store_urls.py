"""URLs of logs and of read models, as commands take them and as people may see them."""

import re
from typing import Final

from services.cli.failure import misused

DATABASE_URL_VARIABLE: Final = "METERLOG_DATABASE_URL"
POSTGRES_SCHEMES: Final = ("postgresql", "postgres")
HIDDEN: Final = "…"

_SECRET_OPTION: Final = re.compile(r"(?<=[?&]password=)[^&]*|(?<=[?&]sslpassword=)[^&]*", re.IGNORECASE)


def is_postgres(url: str) -> bool:
    """Whether a URL names a PostgreSQL database."""
    return url.partition("://")[0] in POSTGRES_SCHEMES


def shown_url(url: str) -> str:
    """The URL without its password, for people and for files that others may read."""
    if is_file(url):
        return url
    scheme, separator, rest = url.partition("://")
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    behind = rest[len(authority) :]
    if "@" in behind.partition("?")[0]:
        return f"{scheme}://{HIDDEN}"  # a sign of the password was not escaped, so nobody knows where it ends
    user, at, host = authority.rpartition("@")
    name, colon, password = user.partition(":")
    shown_user = f"{name}:{HIDDEN}" if colon and password else name
    return f"{scheme}{separator}{shown_user}{at}{host}{_SECRET_OPTION.sub(HIDDEN, behind)}"


def is_file(url: str) -> bool:
    """Whether a URL names a SQLite file."""
    return url.startswith("sqlite:")


def require_shared_database(url: str, name: str) -> str:
    """`url`, when all services of a platform can keep their read models there; raises CommandFailed."""
    if url and not is_postgres(url):
        raise misused(
            f"{name} is {shown_url(url)}, but services cannot share that; name a PostgreSQL database, where each has a "
            "schema of its own, or nothing, and each has a file of its own"
        )
    return url
