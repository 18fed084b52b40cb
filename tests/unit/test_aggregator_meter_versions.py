"""The rules of a meter's versions: which counts usage of which time, and what may change from when on."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from meterlog.events.v1.meter_pb2 import MeterArchived, MeterCreated, MeterRedefined, UsageCondition
from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.meters.conditions import Condition, Operator
from services.aggregator.meters.definition import Definition, require_definition
from services.aggregator.meters.meter import METER, CreateMeter, Meter, MeterEvent, RedefineMeter
from services.aggregator.meters.versions import Reign, reigns, succeed
from services.eventstore.decider_testing import given
from services.kernel.clock import epoch_us
from services.kernel.errors import AlreadyExists, InvalidInput, NotFound, RuleViolated
from services.kernel.timestamp import to_timestamp

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
LATER = datetime(2024, 1, 2, 12, tzinfo=UTC)
TOKENS = Definition("tokens", "Tokens", "llm.completion", AggregationName.SUM, "tokens", ("region",), "token")
LARGE = (Condition("model", Operator.IN, ("large", "huge")),)
WEIGHTED = replace(TOKENS, value_property="", value_expression="input + 3 * output", filters=LARGE)

created = MeterCreated(
    slug="tokens",
    display_name="Tokens",
    event_type="llm.completion",
    aggregation="sum",
    value_property="tokens",
    group_by=["region"],
    unit="token",
    created_at=to_timestamp(NOON),
)


def redefined(version: int, effective_from: datetime | None = None, **said: Any) -> MeterRedefined:
    definition = MeterCreated.FromString(created.SerializeToString())
    definition.MergeFrom(MeterCreated(**said))
    if "value_expression" in said:
        definition.value_property = ""
    return MeterRedefined(
        slug="tokens",
        version=version,
        definition=definition,
        effective_from=None if effective_from is None else to_timestamp(effective_from),
        redefined_at=to_timestamp(LATER),
    )


weighted = redefined(
    2,
    NOON,
    value_expression="input + 3 * output",
    filters=[UsageCondition(property="model", operator="in", values=["large", "huge"])],
)

HISTORY: tuple[MeterEvent, ...] = (created, weighted)


def test_a_redefined_meter_says_the_new_from_its_time_on_and_the_old_before() -> None:
    meter = given(METER, [created]).when(RedefineMeter(WEIGHTED, NOON, 1, LATER)).then(weighted)

    assert meter == Meter(replace(WEIGHTED, effective_from=NOON, before=TOKENS), NOON, None, 2)
    assert list(reigns(meter.definition)) == [
        Reign(meter.definition, epoch_us(NOON), None),
        Reign(TOKENS, None, epoch_us(NOON)),
    ]


def test_a_meter_redefined_for_all_times_forgets_what_it_said() -> None:
    always = RedefineMeter(replace(TOKENS, aggregation=AggregationName.MAX, group_by=()), None, 2, LATER)
    decided = METER.decide(always, METER.fold([created, weighted]))

    meter = METER.fold([created, weighted, *decided])
    assert meter is not None
    assert (meter.definition, meter.version) == (always.definition, 3)


def test_a_version_from_an_earlier_time_on_takes_the_place_of_those_behind() -> None:
    second = succeed(TOKENS, replace(TOKENS, unit="b"), LATER)
    third = succeed(second, replace(TOKENS, unit="c"), NOON)

    assert [(each.definition.unit, each.start_us) for each in reigns(third)] == [("c", epoch_us(NOON)), ("token", None)]


def test_redefining_again_in_the_same_way_changes_nothing() -> None:
    """A caller whose answer was lost sends the same again, with the version that it had seen."""
    given(METER, HISTORY).when(RedefineMeter(WEIGHTED, NOON, 1, LATER)).then_nothing()
    given(METER, HISTORY).when(RedefineMeter(WEIGHTED, NOON, 2, LATER)).then_nothing()
    given(METER, [created]).when(RedefineMeter(TOKENS, None, 1, LATER)).then_nothing()


def test_a_meter_that_somebody_redefined_first_is_refused() -> None:
    other = replace(TOKENS, value_property="other")
    given(METER, HISTORY).when(RedefineMeter(other, None, 1, LATER)).refuses(RuleViolated, "METER_REDEFINED")
    given(METER, [created]).when(RedefineMeter(other, None, 2, LATER)).refuses(RuleViolated, "METER_REDEFINED")
    given(METER).when(RedefineMeter(other, None, 1, LATER)).refuses(NotFound, "METER_NOT_FOUND")


def test_an_archived_meter_is_not_redefined() -> None:
    archived: tuple[MeterEvent, ...] = (created, MeterArchived(slug="tokens", archived_at=to_timestamp(LATER)))
    command = RedefineMeter(replace(TOKENS, value_property="other"), None, 1, LATER)

    given(METER, archived).when(command).refuses(RuleViolated, "METER_ARCHIVED")


def test_creating_a_meter_as_it_stands_after_a_redefinition_changes_nothing() -> None:
    given(METER, HISTORY).when(CreateMeter(WEIGHTED, LATER)).then_nothing()
    given(METER, HISTORY).when(CreateMeter(TOKENS, LATER)).refuses(AlreadyExists, "METER_EXISTS")


@pytest.mark.parametrize(
    ("change", "effective_from", "field", "reason"),
    [
        ({}, NOON + timedelta(minutes=30), "effective_from", "NOT_A_WHOLE_HOUR"),
        ({"aggregation": AggregationName.MAX}, NOON, "meter.aggregation", "AGGREGATION_CHANGED"),
        ({"group_by": ()}, NOON, "meter.group_by", "GROUP_BY_CHANGED"),
        ({"group_by": ("model", "region")}, NOON, "meter.group_by", "GROUP_BY_CHANGED"),
    ],
)
def test_what_cannot_change_from_a_time_on_is_refused_by_its_field(
    change: dict[str, Any], effective_from: datetime, field: str, reason: str
) -> None:
    command = RedefineMeter(replace(WEIGHTED, **change), effective_from, 1, LATER)
    with pytest.raises(InvalidInput) as refusal:
        METER.decide(command, METER.fold([created]))
    assert (refusal.value.field, refusal.value.reason) == (field, reason)


def test_a_percentile_and_the_groups_of_levels_cannot_change_from_a_time_on() -> None:
    percentile = replace(TOKENS, aggregation=AggregationName.PERCENTILE, percentile="95")
    levels = replace(TOKENS, aggregation=AggregationName.WEIGHTED_SUM)
    for standing, new, reason in (
        (percentile, replace(percentile, percentile="99"), "AGGREGATION_CHANGED"),
        (levels, replace(levels, group_by=("region", "model")), "GROUPS_OF_LEVELS"),
    ):
        meter = METER.fold(METER.decide(CreateMeter(standing, NOON), None))
        with pytest.raises(InvalidInput) as refusal:
            METER.decide(RedefineMeter(new, NOON, 1, LATER), meter)
        assert refusal.value.reason == reason


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"value_expression": "a +", "value_property": ""}, "meter.value_expression", "BAD_EXPRESSION"),
        ({"value_expression": "a"}, "meter.value_expression", "TWO_VALUES"),
        (
            {"aggregation": AggregationName.COUNT, "value_property": "", "value_expression": "a"},
            "meter.value_expression",
            "COUNT_WITH_VALUE",
        ),
        ({"percentile": "95"}, "meter.percentile", "PERCENTILE_NOT_ASKED"),
        ({"aggregation": AggregationName.PERCENTILE}, "meter.percentile", "BAD_PERCENTILE"),
        ({"aggregation": AggregationName.PERCENTILE, "percentile": "0"}, "meter.percentile", "BAD_PERCENTILE"),
        ({"aggregation": AggregationName.PERCENTILE, "percentile": "100.1"}, "meter.percentile", "BAD_PERCENTILE"),
        ({"aggregation": AggregationName.PERCENTILE, "percentile": "9e1"}, "meter.percentile", "BAD_PERCENTILE"),
        ({"filters": (Condition("a b", Operator.EXISTS),)}, "meter.filters[0].property", "BAD_IDENTIFIER"),
        ({"filters": (Condition("a", Operator.LESS, ("x",)),)}, "meter.filters[0].values[0]", "BAD_CONDITION_VALUE"),
        ({"filters": LARGE * 21}, "meter.filters", "TOO_MANY_CONDITIONS"),
    ],
)
def test_a_malformed_meter_is_refused_by_its_field(change: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        require_definition(replace(TOKENS, **change))
    assert (refusal.value.field, refusal.value.reason) == (field, reason)


def test_a_percentile_has_one_text() -> None:
    written = replace(TOKENS, aggregation=AggregationName.PERCENTILE, percentile="99.90")

    assert require_definition(written).percentile == "99.9"
