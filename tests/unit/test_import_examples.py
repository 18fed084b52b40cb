"""Every example can be used as it is: catalogues are read, mappings import the file beside them."""

from pathlib import Path

import pytest

from meterlog.client.testing import IngestInMemory
from services.cli.declared.catalogue import read_catalogue
from services.cli.importing.command import import_usage
from services.cli.importing.generate import ROWS, generate_usage
from services.cli.importing.mapping_file import read_mapping

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FOLDERS = sorted(path.parent for path in EXAMPLES.glob("*/catalogue.yaml"))
MAPPED = [folder for folder in FOLDERS if (folder / "mapping.yaml").exists()]
KINDS = ("meter", "plan", "customer", "subscription", "endpoint")

every_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def content_of(folder):
    path = folder / "catalogue.yaml"
    items = read_catalogue(path.read_text(), path.name)
    return {kind: [item.message for item in items if item.kind == kind] for kind in KINDS}


@every_folder
def test_a_catalogue_is_complete_in_itself(folder):
    content = content_of(folder)
    meters = {meter.slug for meter in content["meter"]}
    plans = {plan.key: plan for plan in content["plan"]}
    customers = {customer.key: customer for customer in content["customer"]}
    for plan in plans.values():
        assert {price.meter for price in plan.prices} - {""} <= meters
    for subscription in content["subscription"]:
        assert plans[subscription.plan].currency == customers[subscription.customer].currency


@pytest.mark.parametrize("folder", MAPPED, ids=lambda folder: folder.name)
def test_a_mapping_makes_the_usage_that_the_meters_count(folder):
    mapping = read_mapping(folder / "mapping.yaml").mapping
    properties = {each.key for each in mapping.properties}
    for meter in content_of(folder)["meter"]:
        assert {meter.value_property, *meter.group_by} - {""} <= properties


def test_an_access_log_makes_the_usage_that_its_meters_count(tmp_path):
    with IngestInMemory() as ingest:
        summary = import_usage(EXAMPLES / "web_access" / "access.log", address=ingest.address, var=tmp_path)
    assert summary.recorded == summary.read == 410
    for meter in content_of(EXAMPLES / "web_access")["meter"]:
        needed = {meter.value_property, *meter.group_by, *(each.property for each in meter.filters)} - {""}
        assert {event.type for event in ingest.recorded} == {meter.event_type}
        assert all(needed <= event.properties.keys() for event in ingest.recorded)


def test_a_log_of_the_api_gateway_is_imported_without_a_mapping(tmp_path):
    with IngestInMemory() as ingest:
        file = EXAMPLES / "api_gateway" / "gateway.jsonl"
        summary = import_usage(file, address=ingest.address, var=tmp_path)
    assert summary.recorded == summary.read == 3


def test_cloud_events_make_the_usage_that_their_meters_count(tmp_path):
    with IngestInMemory() as ingest:
        file = EXAMPLES / "cloud_events" / "requests.ndjson"
        summary = import_usage(file, address=ingest.address, var=tmp_path)
    assert summary.recorded == summary.read == 3
    for meter in content_of(EXAMPLES / "cloud_events")["meter"]:
        assert {event.type for event in ingest.recorded} == {meter.event_type}
        assert all(
            {"input_tokens", "output_tokens", *meter.group_by} <= set(event.properties) for event in ingest.recorded
        )


@pytest.mark.parametrize(("name", "rows"), [("api_gateway/calls.ndjson", 3), ("object_storage/stored.csv", 6)])
def test_the_file_of_an_example_is_imported_whole(tmp_path, name, rows):
    file = EXAMPLES / name
    with IngestInMemory() as ingest:
        summary = import_usage(file, file.parent / "mapping.yaml", address=ingest.address, var=tmp_path)
    assert (summary.read, summary.recorded) == (rows, rows)


def test_generated_usage_is_imported_whole_for_the_customers_of_the_example(tmp_path):
    generate_usage(tmp_path / "trace.csv")
    with IngestInMemory() as ingest:
        mapping = EXAMPLES / "llm" / "mapping.yaml"
        summary = import_usage(tmp_path / "trace.csv", mapping, address=ingest.address, var=tmp_path)
    assert summary.recorded == ROWS
    customers = {customer.key for customer in content_of(EXAMPLES / "llm")["customer"]}
    assert {event.subject for event in ingest.recorded} == customers
