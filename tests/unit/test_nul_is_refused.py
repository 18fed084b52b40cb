"""U+0000 comes in nowhere: PostgreSQL cannot store it, so no text that reaches a table may hold it."""

from collections.abc import Callable

import pytest

from meterlog.notifier.v1 import notifier_pb2 as notifier
from services.aggregator.meters.definition import require_display_name, require_unit
from services.ingest.rules import identifier_problems, property_problems
from services.kernel.errors import InvalidInput
from services.kernel.ids import require_identifier, require_key, require_property_key, require_slug
from services.notifier.conversion import endpoint_content
from services.notifier.endpoint_url import require_url
from services.rating.api.parse_plan import parse_name
from services.rating.numbering import require_series

WITH_NUL = ("\0", "a\0", "\0a", "a\0b")


def description(text: str, field: str) -> object:
    endpoint = notifier.Endpoint(url="https://hooks.example.com/", description=text)
    return endpoint_content(endpoint, allows_http=False)


def url(text: str, field: str) -> object:
    return require_url(f"https://hooks.example.com/{text}", field, allows_http=False)


def name(text: str, field: str) -> object:
    return parse_name(text, "key", field)


@pytest.mark.parametrize("text", WITH_NUL)
@pytest.mark.parametrize(
    "edge",
    [
        require_slug,
        require_key,
        require_identifier,
        require_property_key,
        require_display_name,
        require_unit,
        require_series,
        description,
        url,
        name,
    ],
)
def test_names_texts_and_addresses_are_refused(edge: Callable[[str, str], object], text: str) -> None:
    with pytest.raises(InvalidInput):
        edge(text, "field")


@pytest.mark.parametrize("text", WITH_NUL)
def test_usage_is_refused_event_by_event(text: str) -> None:
    for field in ("id", "source", "type", "subject"):
        assert list(identifier_problems(field, ["fine", text])) == [1]
    problems = property_problems([{"region": "eu"}, {"region": text}], ())
    assert {row: problem.reason for row, problem in problems.items()} == {1: "PROPERTY_HAS_NUL"}
