"""Closed periods as the API writes them."""

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.periods.closed_periods import ClosedPeriod, Restatement
from services.kernel.timestamp import to_timestamp


def closed_message(closed: ClosedPeriod) -> api.ClosedPeriod:
    """The message of a closed period."""
    usage = closed.usage
    return api.ClosedPeriod(
        subject=usage.subject,
        period=usage.kind.length,
        time_zone=usage.kind.zone,
        start_at=to_timestamp(usage.span.start),
        end_at=to_timestamp(usage.span.end),
        totals=usage.totals,
        position=usage.position,
        closed_at=to_timestamp(closed.closed_at),
        restatements=map(_restatement_message, closed.restatements),
    )


def _restatement_message(restatement: Restatement) -> api.Restatement:
    return api.Restatement(
        number=restatement.number,
        previous_position=restatement.previous_position,
        position=restatement.position,
        totals=[
            api.RestatedTotal(meter=meter, old_value=old, new_value=new)
            for meter, (old, new) in restatement.totals.items()
        ],
        restated_at=to_timestamp(restatement.restated_at),
    )
