"""Run the server by hand or as a process that may be killed: `python -m tests.kurrentdb_server --port 2113`."""

import argparse
import signal
import sys
import threading
from fractions import Fraction
from pathlib import Path

from tests.kurrentdb_server.event_log import SYSTEM_EVENT_EVERY, EventLog
from tests.kurrentdb_server.faults import DEFAULT_AMOUNT, Fault, Faults
from tests.kurrentdb_server.journal import Journal
from tests.kurrentdb_server.options import APPEND_BYTES_MAX, Options
from tests.kurrentdb_server.recent_ids import DEFAULT_BYTES
from tests.kurrentdb_server.server import KurrentServer, Tls

READY = "ready "


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the first line printed is READY and the URL."""
    wanted = _parser().parse_args(arguments)
    journal = Journal(wanted.data, is_synced=wanted.sync) if wanted.data else None
    log = EventLog(journal=journal, system_event_every=wanted.system_event_every)
    server = KurrentServer(
        port=wanted.port, log=log, options=_options(wanted), faults=_faults(wanted), tls=_tls(wanted)
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    with server:
        print(f"{READY}{server.url}", flush=True)
        while not stop.wait(1.0):
            pass
    log.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.kurrentdb_server", description=__doc__)
    parser.add_argument("--port", type=int, default=2113, help="0 takes a free one")
    parser.add_argument("--data", type=Path, help="keep everything in this file, and begin with what it holds")
    parser.add_argument("--sync", action="store_true", help="also ask the disk before each answer")
    parser.add_argument("--append-bytes-max", type=int, default=APPEND_BYTES_MAX)
    parser.add_argument("--recent-ids-bytes", type=int, default=DEFAULT_BYTES)
    parser.add_argument("--system-event-every", type=int, default=SYSTEM_EVENT_EVERY)
    parser.add_argument("--tls-cert", type=Path)
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--seed", type=int, default=0, help="of the faults' chances")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME=PROBABILITY[:AMOUNT]",
        help=f"strike by chance; one of {', '.join(Fault)}",
    )
    return parser


def _options(wanted: argparse.Namespace) -> Options:
    if bool(wanted.user) != bool(wanted.password):
        sys.exit("--user and --password go together")
    users = {wanted.user: wanted.password} if wanted.user else {}
    return Options(append_bytes_max=wanted.append_bytes_max, recent_ids_bytes=wanted.recent_ids_bytes, users=users)


def _tls(wanted: argparse.Namespace) -> Tls | None:
    if bool(wanted.tls_cert) != bool(wanted.tls_key):
        sys.exit("--tls-cert and --tls-key go together")
    return Tls(wanted.tls_cert.read_bytes(), wanted.tls_key.read_bytes()) if wanted.tls_cert else None


def _faults(wanted: argparse.Namespace) -> Faults:
    faults = Faults(wanted.seed)
    for told in wanted.fault:
        name, _, chance = told.partition("=")
        probability, _, amount = chance.partition(":")
        try:
            faults.rate(Fault(name), _number(probability), amount=_number(amount) if amount else DEFAULT_AMOUNT)
        except ValueError as error:
            sys.exit(f"--fault {told}: {error}; write NAME=PROBABILITY[:AMOUNT]")
    return faults


def _number(text: str) -> float:
    fraction = Fraction(text)
    return fraction.numerator / fraction.denominator


if __name__ == "__main__":
    sys.exit(main())
