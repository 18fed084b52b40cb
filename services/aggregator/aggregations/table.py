"""The aggregations that exist, on one screen."""

from services.aggregator.aggregations.aggregation import Aggregation, AggregationName
from services.aggregator.aggregations.avg import AVG
from services.aggregator.aggregations.count import COUNT
from services.aggregator.aggregations.first import FIRST
from services.aggregator.aggregations.last import LAST
from services.aggregator.aggregations.max import MAX
from services.aggregator.aggregations.min import MIN
from services.aggregator.aggregations.sum import SUM
from services.aggregator.aggregations.unique_count import UNIQUE_COUNT

AGGREGATIONS: dict[AggregationName, Aggregation] = {
    aggregation.name: aggregation for aggregation in (COUNT, SUM, MIN, MAX, AVG, FIRST, LAST, UNIQUE_COUNT)
}
