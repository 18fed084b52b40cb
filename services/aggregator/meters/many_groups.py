"""The bound on the groups of a meter: a key that is different for every usage event would make a state of each."""

import pyarrow as pa

from services.aggregator.aggregations.count import COUNT
from services.aggregator.deadline import Deadline
from services.aggregator.meters.definition import Definition
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.states.counting import WHOLE_KEYS, columns_counted, usage_states
from services.aggregator.usage.archived_usage import EARLIEST_US, LATEST_US
from services.aggregator.usage.usage_reading import Extent, read_usage
from services.kernel.clock import epoch_us
from services.kernel.errors import RuleViolated

GROUPS_MAX = 1_000_000
"""Different pairs of subject and group that a meter may have over all past usage when it is created or redefined.

Ten times those of a thousand customers by two properties of 20 and 5 values; each takes about 100 bytes in every hour
that has usage of it.
"""


def require_few_groups(
    source: UsageSnapshot, meter: Definition, deadline: Deadline, groups_max: int = GROUPS_MAX
) -> None:
    """Raises RuleViolated when past usage has more pairs of subject and group by this meter; TimedOut."""
    if not meter.group_by:
        return
    start_us = EARLIEST_US if meter.effective_from is None else epoch_us(meter.effective_from)
    extent = Extent(start_us, LATEST_US, types=(meter.event_type,))
    seen: pa.Table | None = None
    for usage in read_usage(source, extent, columns_counted([meter])):
        deadline.require()
        numbered = usage.append_column("window", pa.repeat(pa.scalar(0, pa.int64()), usage.num_rows))
        pairs = usage_states(numbered, meter, "window", COUNT).select(WHOLE_KEYS)
        seen = pairs if seen is None else pa.concat_tables([seen, pairs]).group_by(list(WHOLE_KEYS)).aggregate([])
        if seen.num_rows > groups_max:
            raise too_many_groups(meter, groups_max)


def too_many_groups(meter: Definition, groups_max: int) -> RuleViolated:
    """The refusal of a meter with more than `groups_max` groups."""
    return RuleViolated(
        f'meter "{meter.slug}" grouped by {", ".join(meter.group_by)} has more than {groups_max} different groups in '
        "past usage; leave out the key that is different for nearly every usage event",
        reason="TOO_MANY_GROUPS",
    )
