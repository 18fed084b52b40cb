"""The template language of mapping files."""

import pytest

from services.cli.importing.refusal import MappingRefused
from services.cli.importing.row import Row
from services.cli.importing.template import parse_template

ROW = Row(line=15, number=13, columns={"Region": "eu", "row": "r", "load % max": "80", "a.b": "nested", "empty": ""})


def rendered(text, row=ROW):
    return parse_template(text, "id").render(row, "trace.csv")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("llm.completion", "llm.completion"),
        ("{Region}", "eu"),
        ("{ Region }", "eu"),
        ("{a.b}", "nested"),
        ("{empty}", ""),
        ("row-{row}", "row-13"),
        ("tenant-{row % 8}", "tenant-5"),
        ("{row%13}", "0"),
        ("{file}:{row}", "trace.csv:13"),
        ("{column:row}", "r"),
        ("{column:load % max}", "80"),
        ("{{{Region}}}", "{eu}"),
        ("{{row}}", "{row}"),
        ("50 % off", "50 % off"),
    ],
)
def test_a_template_makes_a_text_of_a_row(text, expected):
    assert rendered(text) == expected


@pytest.mark.parametrize("text", ["{Missing}", "prefix-{Missing}", "{Region}{Missing}"])
def test_a_column_that_the_row_has_not_makes_no_text(text):
    assert rendered(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "a}",
        "{Region",
        "{}",
        "{ }",
        "{row % 0}",
        "{row % x}",
        "{row % -1}",
        "{row % 8 + 1}",
        "{other % 8}",
        "{a{b}}",
        "x" * 5000,
    ],
)
def test_what_is_no_template_is_refused_and_the_key_named(text):
    with pytest.raises(MappingRefused) as refused:
        parse_template(text, "subject")
    assert refused.value.field == "subject"


def test_nothing_in_a_template_is_evaluated():
    row = Row(line=1, number=0, columns={"__class__": "text", "x.__init__": "more", "a}{row": "odd"})
    assert rendered("{__class__}/{x.__init__}", row) == "text/more"
    assert rendered("{Region}", Row(1, 0, {"Region": "{row}{file}"})) == "{row}{file}"


def test_a_template_knows_its_columns_and_whether_it_tells_rows_apart():
    assert parse_template("{a}-{row}-{column:file}", "id").columns == {"a", "file"}
    assert parse_template("{file}-x", "id").is_same_for_every_row
    assert not parse_template("{row % 2}", "id").is_same_for_every_row
