"""A usage event from the arguments of a call: types are checked here, content by the service."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from google.protobuf.timestamp_pb2 import Timestamp

from meterlog.client.errors import WrongType, WrongValue
from meterlog.ingest.v1.ingest_pb2 import UsageEvent

Number = int | Decimal | str
"""A quantity: exact, so never a float. Text is plain decimal text such as "12.5"."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_DIGITS_MAX = 100


def usage_event(
    *,
    id: str,  # noqa: A002 - the attribute's name in CloudEvents and in the contract
    source: str,
    type: str,  # noqa: A002 - as above
    subject: str,
    time: datetime,
    value: Number | None = None,
    properties: Mapping[str, Number] | None = None,
) -> UsageEvent:
    """The message of one usage event; raises WrongType or WrongValue that names the argument."""
    try:
        return UsageEvent(
            id=_text(id, "id"),
            source=_text(source, "source"),
            type=_text(type, "type"),
            subject=_text(subject, "subject"),
            time=timestamp(time, "time"),
            value="" if value is None else number_text(value, "value"),
            properties=_properties(properties) if properties else None,
        )
    except UnicodeEncodeError as error:
        raise WrongValue("a text holds half a surrogate pair; send well-formed Unicode") from error


def timestamp(instant: datetime, argument: str) -> Timestamp:
    """The protobuf timestamp of an aware instant, exact to the microsecond; raises WrongType or WrongValue."""
    if not isinstance(instant, datetime):
        raise WrongType(f"{argument} is a {_type_name(instant)}; use a datetime with a time zone")
    if instant.tzinfo is None or instant.utcoffset() is None:
        raise WrongValue(f"{argument} has no time zone, so it is no instant; add one, such as datetime.UTC")
    seconds, rest = divmod(instant - _EPOCH, _SECOND)
    return Timestamp(seconds=seconds, nanos=rest.microseconds * 1000)


def _text(text: str, argument: str) -> str:
    if not isinstance(text, str):
        raise WrongType(f"{argument} is a {_type_name(text)}; use text")
    return text


def _properties(properties: Mapping[str, Number]) -> dict[str, str]:
    return {_text(key, "a property key"): number_text(value, f"properties.{key}") for key, value in properties.items()}


def number_text(value: Number, argument: str) -> str:
    """The text of a quantity or property; raises WrongType or WrongValue that names the argument."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        raise WrongType(f'{argument} is a bool; say what is meant: 1 and 0, or "true" and "false"')
    if isinstance(value, int):
        return _integer_text(value, argument)
    if isinstance(value, Decimal):
        return _decimal_text(value, argument)
    if isinstance(value, float):
        raise WrongType(f'{argument} is a float, which is not exact; use an int, a Decimal or text such as "0.1"')
    raise WrongType(f"{argument} is a {_type_name(value)}; use an int, a Decimal or text")


def _integer_text(value: int, argument: str) -> str:
    try:
        return str(value)
    except ValueError as error:
        raise WrongValue(f"{argument} has thousands of digits; at most 26 are accepted") from error


def _decimal_text(value: Decimal, argument: str) -> str:
    if not value.is_finite():
        raise WrongValue(f"{argument} is {value}; use a finite number")
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and abs(exponent) > _DIGITS_MAX:
        raise WrongValue(f"{argument} is {value}; at most 26 integer and 12 fractional digits are accepted")
    return format(value, "f")


def _type_name(value: object) -> str:
    return type(value).__name__
