"""Everything that a declared file may contain, on one screen; names are those of the API."""

from meterlog.aggregator.v1.aggregator_pb2 import Aggregation, Meter
from meterlog.notifier.v1.notifier_pb2 import Endpoint, EndpointMode
from meterlog.rating.v1.rating_pb2 import (
    Customer,
    FlatCharge,
    GraduatedCharge,
    PackageCharge,
    PerUnitCharge,
    Plan,
    Price,
    Subscription,
    Tier,
    VolumeCharge,
)
from services.cli.declared.shape import Field, FieldKind, Shape

AGGREGATIONS = {name.removeprefix("AGGREGATION_").lower(): value for name, value in Aggregation.items() if value}
ENDPOINT_MODES = {name.removeprefix("ENDPOINT_MODE_").lower(): mode for name, mode in EndpointMode.items() if mode}

METER = Shape(
    Meter,
    (
        Field("slug"),
        Field("display_name", default_from="slug"),
        Field("event_type"),
        Field("aggregation", FieldKind.CHOICE, choices=AGGREGATIONS),
        Field("value_property"),
        Field("value_expression"),
        Field("percentile", FieldKind.DECIMAL),
        Field("group_by", FieldKind.TEXTS),
        Field("filters", FieldKind.CONDITIONS),
        Field("unit"),
        Field("effective_from", FieldKind.INSTANT, is_compared=False),
    ),
)

CUSTOMER = Shape(
    Customer,
    (
        Field("key"),
        Field("display_name", default_from="key"),
        Field("currency"),
        Field("time_zone", default="UTC"),
    ),
)

TIERS = (
    Field(
        "tiers",
        FieldKind.PARTS,
        shape=Shape(
            Tier,
            (
                Field("up_to", FieldKind.DECIMAL),
                Field("unit_amount", FieldKind.DECIMAL),
                Field("flat_amount", FieldKind.DECIMAL, default="0"),
            ),
        ),
    ),
)

CHARGES = (
    Field("flat", FieldKind.PART, shape=Shape(FlatCharge, (Field("amount", FieldKind.DECIMAL),))),
    Field("per_unit", FieldKind.PART, shape=Shape(PerUnitCharge, (Field("unit_amount", FieldKind.DECIMAL),))),
    Field("graduated", FieldKind.PART, shape=Shape(GraduatedCharge, TIERS)),
    Field("volume", FieldKind.PART, shape=Shape(VolumeCharge, TIERS)),
    Field(
        "package",
        FieldKind.PART,
        shape=Shape(
            PackageCharge, (Field("package_size", FieldKind.DECIMAL), Field("package_amount", FieldKind.DECIMAL))
        ),
    ),
)

PRICE = Shape(
    Price,
    (Field("key"), Field("description", default_from="key"), Field("meter"), *CHARGES),
    exactly_one_of=tuple(charge.name for charge in CHARGES),
)

PLAN = Shape(
    Plan,
    (
        Field("key"),
        Field("display_name", default_from="key"),
        Field("currency"),
        Field("prices", FieldKind.PARTS, shape=PRICE),
    ),
)

SUBSCRIPTION = Shape(
    Subscription,
    (
        Field("key"),
        Field("customer"),
        Field("plan"),
        Field("plan_version", FieldKind.INTEGER, keeps_when_absent=True),
        Field("start_at", FieldKind.INSTANT),
    ),
)

ENDPOINT = Shape(
    Endpoint,
    (
        Field("key"),
        Field("url"),
        Field("message_types", FieldKind.TEXTS),
        Field("description"),
        Field("mode", FieldKind.CHOICE, default="live", choices=ENDPOINT_MODES),
    ),
)
