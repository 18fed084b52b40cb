"""Ids are the same again for the same fact, and sort by time."""

from datetime import UTC, datetime, timedelta

import pytest

from services.kernel.errors import InvalidInput
from services.kernel.ids import derived_uuid, new_uuid, require_identifier, require_key, require_slug

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)


def test_the_same_fact_has_the_same_id() -> None:
    assert derived_uuid(NOON, "invoice", "a") == derived_uuid(NOON, "invoice", "a")
    assert derived_uuid(NOON, "invoice", "a").version == 8


def test_parts_are_kept_apart() -> None:
    assert derived_uuid(NOON, "ab", "c") != derived_uuid(NOON, "a", "bc")


def test_ids_of_later_instants_sort_later() -> None:
    later = NOON + timedelta(milliseconds=1)
    assert derived_uuid(NOON, "z") < derived_uuid(later, "a")
    assert new_uuid(NOON) < new_uuid(later)


def test_fresh_ids_differ() -> None:
    assert new_uuid(NOON) != new_uuid(NOON)
    assert new_uuid(NOON).version == 7


@pytest.mark.parametrize("text", ["", "Api", "1st", "a-b", "a" * 65, "a b", "ä"])
def test_a_slug_is_lower_case_and_starts_with_a_letter(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"meter\.slug"):
        require_slug(text, "meter.slug")


@pytest.mark.parametrize("text", ["", "-a", "A", "a/b", "a" * 65])
def test_a_key_is_lower_case(text: str) -> None:
    with pytest.raises(InvalidInput):
        require_key(text, "plan.key")


@pytest.mark.parametrize("text", ["", "a\nb", "a\x00", "\x85", "a" * 257])
def test_an_identifier_from_outside_has_no_control_characters(text: str) -> None:
    with pytest.raises(InvalidInput):
        require_identifier(text, "customer.key")


def test_an_identifier_from_outside_may_be_anything_readable() -> None:
    assert require_identifier("Müller & Søn / 東京", "customer.key") == "Müller & Søn / 東京"
