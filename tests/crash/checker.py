"""The checker: a history and the final log in, the laws that were broken out. Pure."""

from collections.abc import Sequence

from services.eventstore.event import RecordedEvent
from tests.crash.append_laws import append_violations
from tests.crash.history import History
from tests.crash.law import Violation
from tests.crash.log_laws import log_violations
from tests.crash.read_laws import read_violations
from tests.crash.subscription_laws import subscription_violations


def violations(history: History, log: Sequence[RecordedEvent], *, counts_positions: bool) -> list[Violation]:
    """Every law that the history and the log break, a few violations of each.

    The log is read when all clients have ended. `counts_positions` where positions must be 1, 2, 3. Usage events have
    laws of their own; only their place in the log concerns these.
    """
    return [
        *log_violations(log, counts_positions=counts_positions),
        *append_violations(history.attempts, log),
        *read_violations(history.attempts, history.head_reads, history.stream_reads, log),
        *subscription_violations(history.sessions, log),
    ]
