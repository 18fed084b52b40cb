"""Starts rating: `python -m services.rating`; `--help` lists its settings."""

import sys

from services.projection.database import Database
from services.projection.runner import ProjectionRunner
from services.rating.aggregator_reader import AggregatorReader
from services.rating.api.customers import Customers
from services.rating.api.invoices import Invoices
from services.rating.api.plans import Plans
from services.rating.api.subscriptions import Subscriptions
from services.rating.billing import Billing
from services.rating.desk import Desk
from services.rating.numbering import require_series
from services.rating.readmodel.projection import BillingProjection
from services.rating.server import RATING_SERVICE, RatingFace
from services.rating.worker import BillingWorker
from services.rpc.channel import open_channel
from services.rpc.grace import GRACE, grace_period
from services.rpc.service import Context, Face, Service, run
from services.rpc.settings import Setting

SETTINGS = (
    Setting("METERLOG_AGGREGATOR_ADDRESS", "127.0.0.1:7402", "The aggregator that usage is read from, <host>:<port>."),
    Setting("METERLOG_API_KEY", "", "Key for calling the aggregator, with the scope read; empty: none."),
    GRACE,
    Setting("METERLOG_INVOICE_SERIES", "INV", "First part of invoice numbers; each series counts from 1."),
)


def build(context: Context) -> Service:
    """The room, wired."""
    settings = context.settings
    books = ProjectionRunner(context.store, Database.open(context.database_url, "rating"), BillingProjection())
    usage = AggregatorReader(
        open_channel(settings.text("METERLOG_AGGREGATOR_ADDRESS"), settings.text("METERLOG_API_KEY"))
    )
    billing = Billing(
        store=context.store,
        books=books,
        usage=usage,
        series=require_series(settings.text("METERLOG_INVOICE_SERIES"), "METERLOG_INVOICE_SERIES"),
        grace=grace_period(settings),
    )
    desk = Desk(context.store, books, context.clock)
    face = RatingFace(Customers(desk), Plans(desk, usage), Subscriptions(desk), Invoices(desk, billing))
    worker = BillingWorker(billing, context.clock)
    return Service((Face(RATING_SERVICE, face.register),), (books, worker), (books,))


if __name__ == "__main__":
    sys.exit(run("rating", build, SETTINGS))
