"""What a mapping file may say, and how it is refused."""

import pytest
import yaml

from services.cli.importing.mapping import FileFormat, parse_mapping
from services.cli.importing.mapping_file import read_mapping
from services.cli.importing.refusal import MappingRefused

COMPLETE = """
format: csv
delimiter: ";"
source: "{file}"
id: "row-{row}"
type: llm.completion
subject: "tenant-{row % 8}"
time: {column: At, format: unix_seconds, zone: Europe/Berlin}
value: "{Amount}"
properties:
  region: "{Region}"
  tokens: {number: "{Tokens}"}
"""
REQUIRED = {"source": "s", "id": "{row}", "type": "t", "subject": "c", "time": {"column": "At"}}


def test_a_complete_mapping_is_read():
    mapping = parse_mapping(yaml.safe_load(COMPLETE))
    assert (mapping.format, mapping.delimiter) == (FileFormat.CSV, ";")
    assert (mapping.time.format.name, mapping.time.zone.key) == ("unix_seconds", "Europe/Berlin")
    assert [(each.key, each.is_number) for each in mapping.properties] == [("region", False), ("tokens", True)]
    assert mapping.columns == {"At", "Amount", "Region", "Tokens"}


def test_most_of_a_mapping_has_defaults():
    mapping = parse_mapping(REQUIRED)
    assert (mapping.format, mapping.delimiter, mapping.value, mapping.properties) == (None, ",", None, ())
    assert (mapping.time.format.name, mapping.time.zone.key) == ("iso8601", "UTC")


@pytest.mark.parametrize("key", sorted(REQUIRED))
def test_a_missing_key_is_named(key):
    with pytest.raises(MappingRefused, match=f"{key} is missing") as refused:
        parse_mapping({name: value for name, value in REQUIRED.items() if name != key})
    assert refused.value.field == key


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"format": "xml"}, "format"),
        ({"delimiter": ";;"}, "delimiter"),
        ({"delimiter": '"'}, "delimiter"),
        ({"delimiter": 5}, "delimiter"),
        ({"id": "always-the-same"}, "id"),
        ({"id": "{file}"}, "id"),
        ({"type": 5}, "type"),
        ({"subject": "{row % 0}"}, "subject"),
        ({"value": ["x"]}, "value"),
        ({"time": "At"}, "time"),
        ({"time": {"format": "iso8601"}}, "time.column"),
        ({"time": {"column": "At", "format": "rfc822"}}, "time.format"),
        ({"time": {"column": "At", "format": ["iso8601"]}}, "time.format"),
        ({"time": {"column": "At", "zone": "Middle/Earth"}}, "time.zone"),
        ({"time": {"column": "At", "timezone": "UTC"}}, "time.timezone"),
        ({"properties": ["a"]}, "properties"),
        ({"properties": {"tokens": 5}}, "properties.tokens"),
        ({"properties": {"tokens": {"decimal": "{T}"}}}, "properties.tokens.decimal"),
        ({"properties": {"tokens": {"number": "{T"}}}, "properties.tokens.number"),
        ({"properties": {f"p{index}": "x" for index in range(65)}}, "properties"),
        ({"propertys": {}}, "propertys"),
    ],
)
def test_a_wrong_key_is_refused_by_its_path(changes, field):
    with pytest.raises(MappingRefused) as refused:
        parse_mapping({**REQUIRED, **changes})
    assert refused.value.field == field
    assert field in refused.value.message


@pytest.mark.parametrize("document", [None, "text", 5, ["source"], {5: "x"}])
def test_what_is_no_mapping_is_refused(document):
    with pytest.raises(MappingRefused):
        parse_mapping(document)


@pytest.mark.parametrize(
    "content",
    [b"", b"a: [", b"\xff\xfe\x00", b"a: b: c", b"!!python/object:os.system x", b"a: &x [*x", b"[" * 1000, b"\0"],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path, content):
    path = tmp_path / "mapping.yaml"
    path.write_bytes(content)
    with pytest.raises(MappingRefused, match=r"mapping\.yaml|the mapping"):
        read_mapping(path)


def test_a_mapping_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(MappingRefused, match="No such file"):
        read_mapping(tmp_path / "nowhere.yaml")


def test_a_changed_mapping_has_another_fingerprint(tmp_path):
    path = tmp_path / "mapping.yaml"
    path.write_text(COMPLETE)
    first = read_mapping(path)
    path.write_text(COMPLETE.replace("tenant-", "customer-"))
    assert read_mapping(path).fingerprint != first.fingerprint
