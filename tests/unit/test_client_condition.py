"""Conditions as people type them."""

import pytest

from meterlog.client import Condition, WrongValue, parse_condition
from meterlog.client.condition import OPERATORS, condition_messages, condition_of, condition_text


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("region", Condition("region", "exists")),
        ("!region", Condition("region", "not_exists")),
        ("model=large", Condition("model", "equals", ("large",))),
        ("model!=large", Condition("model", "not_equals", ("large",))),
        ("model=a,b", Condition("model", "in", ("a", "b"))),
        ("model!=a,b", Condition("model", "not_in", ("a", "b"))),
        ("path^=/api", Condition("path", "prefix", ("/api",))),
        ("bytes>=100", Condition("bytes", "greater_or_equal", ("100",))),
        ("bytes<=100", Condition("bytes", "less_or_equal", ("100",))),
        ("bytes>100", Condition("bytes", "greater", ("100",))),
        ("$value<0.5", Condition("$value", "less", ("0.5",))),
        ("query=a=b", Condition("query", "equals", ("a=b",))),
        ("a==", Condition("a", "equals", ("=",))),
        ("name=", Condition("name", "equals", ("",))),
        ("name=a\\,b", Condition("name", "equals", ("a,b",))),
        ("name=a\\,b,c", Condition("name", "in", ("a,b", "c"))),
        ("path^=/a,b", Condition("path", "prefix", ("/a,b",))),
    ],
)
def test_what_is_typed_is_what_is_meant_and_is_shown_again(text, condition):
    assert parse_condition(text) == condition
    assert parse_condition(condition_text(condition)) == condition
    assert [condition_of(each) for each in condition_messages([text])] == [condition]


@pytest.mark.parametrize("text", ["", "=", "a b=c", "1a=2", "=large", "!a=b", "a ~ b"])
def test_what_is_no_condition_is_refused(text):
    with pytest.raises(WrongValue, match="is no condition"):
        parse_condition(text)


def test_every_operator_can_be_typed():
    typed = ["a", "!a", "a=1", "a!=1", "a=1,2", "a!=1,2", "a^=1", "a<1", "a<=1", "a>1", "a>=1"]
    assert {parse_condition(text).operator for text in typed} == set(OPERATORS)


def test_an_operator_that_there_is_not_is_refused():
    with pytest.raises(WrongValue, match='operator is "like"'):
        condition_messages([Condition("a", "like", ("b",))])
