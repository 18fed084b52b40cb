"""Conditions as people type them on the command line."""

from collections.abc import Iterable

from meterlog.aggregator.v1.aggregator_pb2 import UsageCondition
from meterlog.client import WrongValue
from meterlog.client.condition import condition_messages
from services.cli.failure import misused


def typed_conditions(texts: Iterable[str] | None, option: str) -> list[UsageCondition]:
    """The conditions; raises CommandFailed that names the option."""
    try:
        return condition_messages(texts or ())
    except WrongValue as error:
        raise misused(f"{option}: {error}", "NOT_A_CONDITION") from error
