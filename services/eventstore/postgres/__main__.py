"""For the owner of a log on PostgreSQL: create its tables or bring them up to date, and let other roles use it."""

import argparse
import sys

from services.eventstore.postgres.address import LogAddress
from services.eventstore.postgres.connection import PostgresLimits
from services.eventstore.postgres.grants import Access, grant
from services.eventstore.postgres.schema import ensure_log
from services.kernel.errors import DomainError


def main(arguments: list[str] | None = None) -> int:
    """Do what the arguments say; 1 when it failed, with the reason on standard error."""
    asked = _parser().parse_args(arguments)
    try:
        address = LogAddress.parse(asked.url)
        if asked.command == "migrate":
            ensure_log(address, PostgresLimits())
        else:
            grant(address, asked.role, Access(asked.access))
    except DomainError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.eventstore.postgres", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    migrate = commands.add_parser("migrate", help="create the log, or bring it to the version of this release")
    grants = commands.add_parser("grant", help="let a role append to the log, or read it; run again after migrate")
    grants.add_argument("role")
    grants.add_argument("access", choices=list(Access))
    for command in (migrate, grants):
        command.add_argument("--url", required=True, help="postgresql://owner@host/database[?schema=…]")
    return parser


if __name__ == "__main__":
    sys.exit(main())
