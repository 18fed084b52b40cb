"""A server of the KurrentDB protocol for tests: faithful where it answers, faulty on demand."""

from tests.kurrentdb_server.event_log import EventLog
from tests.kurrentdb_server.faults import Fault, Faults
from tests.kurrentdb_server.journal import Journal
from tests.kurrentdb_server.node import Membership
from tests.kurrentdb_server.options import Options
from tests.kurrentdb_server.server import KurrentServer, PortTaken, Tls

__all__ = ["EventLog", "Fault", "Faults", "Journal", "KurrentServer", "Membership", "Options", "PortTaken", "Tls"]
