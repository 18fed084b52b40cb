"""How files become rows: CSV with all its quotes, JSON lines, and lines that are broken."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.importing.csv_rows import RECORD_LINES_MAX, csv_rows
from services.cli.importing.line import LINE_BYTES_MAX, read_lines
from services.cli.importing.ndjson_rows import ndjson_rows
from services.cli.importing.refusal import FileRefused
from services.cli.importing.row import BrokenRow


def of_csv(content, delimiter=",", needed=()):
    lines = read_lines(io.BytesIO(content if isinstance(content, bytes) else content.encode()))
    return list(csv_rows(lines, delimiter, needed))


def of_ndjson(content):
    return list(ndjson_rows(read_lines(io.BytesIO(content if isinstance(content, bytes) else content.encode()))))


def shown(rows):
    """Rows as (line, number, values), broken ones as (line, number, reason)."""
    return [
        (row.problem.line, row.number, row.problem.reason)
        if isinstance(row, BrokenRow)
        else (row.line, row.number, list(row.columns.values()))
        for row in rows
    ]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("last", [True, False])
def test_a_csv_file_is_read_whatever_its_line_endings_and_marks(ending, mark, last):
    content = mark + ending.join(["a,b", "1,2", "3,4"]) + (ending if last else "")
    assert [dict(row.columns) for row in of_csv(content)] == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


def test_rows_are_numbered_from_0_and_lines_from_1_without_counting_blank_lines():
    assert shown(of_csv("a,b\n1,2\n\n\r\n3,4\n")) == [(2, 0, ["1", "2"]), (5, 1, ["3", "4"])]


def test_quoted_fields_hold_delimiters_quotes_and_line_breaks():
    content = 'a,b\n"1,5","say ""hi"""\n"two\nlines\n\nand more",4\n5,6\n'
    assert shown(of_csv(content)) == [
        (2, 0, ["1,5", 'say "hi"']),
        (3, 1, ["two\nlines\n\nand more", "4"]),
        (7, 2, ["5", "6"]),
    ]


def test_a_broken_row_is_reported_by_its_line_keeps_its_number_and_the_rest_goes_on():
    content = "a,b,c\n1,2,3\n1,2\n4,5,6\n1,2,3,4\n7,8,9\n"
    assert shown(of_csv(content)) == [
        (2, 0, ["1", "2", "3"]),
        (3, 1, "TOO_FEW_COLUMNS"),
        (4, 2, ["4", "5", "6"]),
        (5, 3, "TOO_MANY_COLUMNS"),
        (6, 4, ["7", "8", "9"]),
    ]


@pytest.mark.parametrize(
    "broken",
    ['"1,2', '1,"2', '"1"x,2', '"1""2,3'],
    ids=["open at the start", "open in the middle", "garbled", "doubled"],
)
def test_a_quote_that_does_not_fit_breaks_one_row_only(broken):
    rows = shown(of_csv(f"a,b\n{broken}\n3,4\n5,6\n"))
    assert rows == [(2, 0, "BAD_QUOTES"), (3, 1, ["3", "4"]), (4, 2, ["5", "6"])]


def test_an_open_quote_swallows_nothing_in_a_long_file():
    many = 3 * RECORD_LINES_MAX
    rows = of_csv('a,b\n1,"2\n' + "3,4\n" * many)
    assert len(rows) == many + 1
    assert [isinstance(row, BrokenRow) for row in rows].count(True) == 1
    assert rows[-1].line == many + 2


def test_many_open_quotes_cost_no_more_than_their_rows():
    rows = of_csv("a,b\n" + '1,"2\n3,4\n' * 500)
    assert len(rows) == 1000
    assert {row.problem.reason for row in rows if isinstance(row, BrokenRow)} == {"BAD_QUOTES"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [(b"1,\xff\xfe", "NOT_UTF8"), (b"1,\x00", "NUL_BYTE"), (b"1," + b"x" * LINE_BYTES_MAX, "LINE_TOO_LONG")],
)
def test_a_damaged_line_breaks_one_row_only(line, reason):
    assert shown(of_csv(b"a,b\n" + line + b"\n3,4\n")) == [(2, 0, reason), (3, 1, ["3", "4"])]


def test_a_damaged_line_inside_quotes_does_not_hide_behind_them():
    rows = shown(of_csv(b'a,b\n1,"two\n\xff\nlines"\n3,4\n'))
    assert rows[0] == (2, 0, "BAD_QUOTES")
    assert rows[1] == (3, 1, "NOT_UTF8")
    assert rows[-1] == (5, 3, ["3", "4"])


def test_the_last_line_may_be_too_long_for_memory_and_unfinished():
    assert shown(of_csv(b"a,b\n1,2\n" + b"y" * (3 * LINE_BYTES_MAX)))[-1] == (3, 1, "LINE_TOO_LONG")


def test_other_delimiters_are_taken_at_their_word():
    assert shown(of_csv('a;b\n1,5;"2;3"\n', delimiter=";")) == [(2, 0, ["1,5", "2;3"])]
    assert shown(of_csv("a\tb\n1\t2\n", delimiter="\t")) == [(2, 0, ["1", "2"])]


@pytest.mark.parametrize(
    ("content", "reason", "words"),
    [
        (b"", "FILE_EMPTY", "empty"),
        (b"\xef\xbb\xbf", "FILE_EMPTY", "empty"),
        (b"\n\r\n", "FILE_EMPTY", "empty"),
        (b"a,b\n1,2\n", "COLUMN_MISSING", 'no column "At", which the mapping reads; it has "a", "b"'),
        (b"at,b\n1,2\n", "COLUMN_MISSING", '"at"'),
        (b"At,At\n1,2\n", "COLUMN_AMBIGUOUS", "several columns"),
        ("At,b\n".encode("utf-16"), "HEADER_BROKEN", "line 1, the header"),
        (b'"At,b\n', "HEADER_BROKEN", "quotes"),
    ],
)
def test_a_file_without_what_is_needed_is_refused(content, reason, words):
    with pytest.raises(FileRefused, match=words) as refused:
        of_csv(content, needed=["At"])
    assert refused.value.reason == reason


def test_a_header_alone_is_a_file_without_rows():
    assert of_csv("a,b\n") == []


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@given(st.lists(st.tuples(cells, cells, cells), max_size=8), st.sampled_from(",;\t|"))
def test_whatever_a_csv_writer_writes_is_read_back(table, delimiter):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter).writerows([("a", "b", "c"), *table])
    assert [tuple(row.columns.values()) for row in of_csv(file.getvalue(), delimiter)] == table


def test_json_lines_keep_their_numbers_exactly():
    content = (
        '{"a": 1, "b": 0.1000, "c": 12345678901234567890.000000000001, "d": 1.5e3, "e": 1E-7, "f": 1e400, '
        '"g": true, "h": "x", "i": 1e99999999999999999999}\n'
    )
    assert dict(of_ndjson(content)[0].columns) == {
        "a": "1",
        "b": "0.1000",
        "c": "12345678901234567890.000000000001",
        "d": "1500",
        "e": "0.0000001",
        "f": "1e400",
        "g": "true",
        "h": "x",
        "i": "1e99999999999999999999",
    }


def test_nested_members_are_dotted_and_nulls_and_lists_are_absent():
    row = of_ndjson('{"a": {"b": {"c": 1}, "d": null}, "e": [1], "f": {}, "g": null}')[0]
    assert dict(row.columns) == {"a.b.c": "1"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "BAD_JSON"),
        ("{'a': 1}", "BAD_JSON"),
        ('{"a": NaN}', "BAD_JSON"),
        ('{"a": -Infinity}', "BAD_JSON"),
        ('{"a": 1} {"a": 2}', "BAD_JSON"),
        ("[" * 100_000, "BAD_JSON"),
        ("[1]", "NOT_AN_OBJECT"),
        ("5", "NOT_AN_OBJECT"),
        ("null", "NOT_AN_OBJECT"),
    ],
)
def test_a_broken_json_line_breaks_one_row_only(line, reason):
    rows = shown(of_ndjson(f'{{"a": 1}}\n{line}\n\n{{"a": 2}}\n'))
    assert rows == [(1, 0, ["1"]), (2, 1, reason), (4, 2, ["2"])]


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_json_file_is_refused(content):
    with pytest.raises(FileRefused) as refused:
        of_ndjson(content)
    assert refused.value.reason == "FILE_EMPTY"
