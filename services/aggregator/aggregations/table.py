"""The aggregations that exist, on one screen."""

from services.aggregator.aggregations.aggregation import Aggregation, AggregationName
from services.aggregator.aggregations.avg import AVG
from services.aggregator.aggregations.count import COUNT
from services.aggregator.aggregations.first import FIRST
from services.aggregator.aggregations.last import LAST
from services.aggregator.aggregations.max import MAX
from services.aggregator.aggregations.min import MIN
from services.aggregator.aggregations.percentile import PERCENTILE, percentile
from services.aggregator.aggregations.sum import SUM
from services.aggregator.aggregations.unique_count import UNIQUE_COUNT
from services.aggregator.aggregations.weighted_sum import LEVELS, WEIGHTED_SUM
from services.aggregator.meters.definition import Definition

AGGREGATIONS: dict[AggregationName, Aggregation] = {
    aggregation.name: aggregation
    for aggregation in (COUNT, SUM, MIN, MAX, AVG, FIRST, LAST, UNIQUE_COUNT, LEVELS, PERCENTILE)
}
"""What whole hours keep, by aggregation. Questions are answered by `aggregation_of`."""


def aggregation_of(meter: Definition) -> Aggregation:
    """The aggregation that says the meter's quantity, of states as `window_states` and `raw_states` give them."""
    match meter.aggregation:
        case AggregationName.PERCENTILE:
            return percentile(meter.percentile)
        case AggregationName.WEIGHTED_SUM:
            return WEIGHTED_SUM
        case name:
            return AGGREGATIONS[name]
