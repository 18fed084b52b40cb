"""What an event loop left unsent, sent at the interpreter's exit, when there is no loop any more."""

import threading
from dataclasses import replace

from meterlog.client.channel import Connection, open_channel
from meterlog.client.clock import monotonic_s
from meterlog.client.delivery import BatchSender
from meterlog.client.log import LOG, log_refused
from meterlog.client.outbox import Outbox
from meterlog.client.result import CLIENT_CLOSED, undelivered
from meterlog.client.sending import Sending


def send_leftovers(outbox: Outbox, connection: Connection, sending: Sending) -> None:
    """Send all that waits, at most for `close_timeout_s` and one try more; the rest is undelivered."""
    if not outbox.has_waiting:
        return
    LOG.warning("the client was not closed; sending %d usage events at exit", outbox.counters.unanswered)
    give_up_at_s = monotonic_s() + sending.close_timeout_s
    never = threading.Event()
    channel = open_channel(connection.ingest, connection.tls)
    while outbox.has_waiting:
        batch = outbox.take()
        left_s = give_up_at_s - monotonic_s()
        if left_s > 0:
            retry = replace(sending.retry, give_up_after_s=left_s)
            results = BatchSender(channel, connection.metadata, retry).send(batch.events, never)
        else:
            results = undelivered(batch.events, CLIENT_CLOSED)
        log_refused(results)
        for entry, result in zip(batch.entries, results, strict=True):
            entry.answer(result)
        outbox.settle(batch, results)
    channel.close()
