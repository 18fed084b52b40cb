"""What the client says in the log of its process (logger "meterlog.client"), one line a batch at most.

A program that looks at no result still learns from these lines that usage was refused or given up.
"""

import logging
from collections.abc import Sequence

from meterlog.client.failure import Failure
from meterlog.client.result import UsageOutcome, UsageResult

LOG = logging.getLogger("meterlog.client")


def log_retry(event_count: int, failure: Failure) -> None:
    """The first try of a batch failed and others follow."""
    LOG.warning("%d usage events are not accepted yet and are sent again: %s", event_count, _shown(failure))


def log_given_up(event_count: int, tries: int, failure: Failure) -> None:
    """No other try follows; the events are undelivered."""
    LOG.error("%d usage events were given up, tries: %d: %s", event_count, tries, _shown(failure))


def log_refused(results: Sequence[UsageResult]) -> None:
    """Some events of a batch are in conflict or invalid; the first of them is shown."""
    refused = [result for result in results if result.outcome in (UsageOutcome.CONFLICT, UsageOutcome.INVALID)]
    if refused:
        first = refused[0]
        LOG.warning(
            '%d usage events were refused; the first, "%s" of "%s", is %s: %s %s %s',
            *(len(refused), first.id, first.source, first.outcome, first.field, first.reason, first.message),
        )


def _shown(failure: Failure) -> str:
    return " ".join(part for part in (failure.status, failure.reason, failure.message) if part)
