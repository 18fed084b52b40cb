"""Amendments: what a usage event may be made to say, by the rules that recorded usage keeps."""

from collections.abc import Mapping

from meterlog.aggregator.v1 import correction_pb2 as api
from meterlog.events.v1.correction_pb2 import AmendedProperties, RecordedUsage, UsageAmended
from services.aggregator.corrections.correction import CorrectionContent
from services.aggregator.corrections.decision import Decision
from services.kernel.errors import InvalidInput
from services.kernel.ids import require_property_key
from services.kernel.quantity import decimal_text, parse_decimal

PROPERTIES_MAX = 64
PROPERTY_TEXT_CHARACTERS_MAX = 1_024
"""As ingest has them, so that no amendment says what could not have been recorded."""


def amendment_content(request: api.AmendUsageRequest, decision: Decision) -> CorrectionContent:
    """What is asked for; raises InvalidInput when it says nothing, or what no usage event may say."""
    value = decimal_text(parse_decimal(request.value, "value")) if request.HasField("value") else None
    properties = dict(request.properties.properties) if request.HasField("properties") else None
    if value is None and properties is None:
        raise InvalidInput(
            "neither value nor properties is given; say what shall be other than it is",
            field="value",
            reason="AMENDS_NOTHING",
        )
    if properties is not None:
        _require_properties(properties)
    name = (request.name.source, request.name.id)
    return CorrectionContent(
        (name,), None, False, decision.reason, decision.decided_by, value=value, properties=properties
    )


def amendment_event(key: str, usage: RecordedUsage, content: CorrectionContent, decision: Decision) -> UsageAmended:
    """The event that says so."""
    return UsageAmended(
        key=key,
        usage_event=usage,
        value=content.value or "",
        properties=None if content.properties is None else AmendedProperties(properties=content.properties),
        decision=decision.stored(),
    )


def _require_properties(properties: Mapping[str, str]) -> None:
    if len(properties) > PROPERTIES_MAX:
        raise InvalidInput(
            f"there are {len(properties)} properties; send at most {PROPERTIES_MAX}",
            field="properties",
            reason="PROPERTIES_TOO_MANY",
        )
    for key, text in properties.items():
        field = f"properties.{require_property_key(key, 'properties')}"
        if len(text) > PROPERTY_TEXT_CHARACTERS_MAX:
            raise InvalidInput(
                f"{field} has {len(text)} characters; send at most {PROPERTY_TEXT_CHARACTERS_MAX}",
                field=field,
                reason="PROPERTY_TOO_LONG",
            )
        if "\0" in text:
            raise InvalidInput(f"{field} holds the character U+0000; remove it", field=field, reason="PROPERTY_HAS_NUL")
