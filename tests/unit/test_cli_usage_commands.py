"""What people type about meters, usage, corrections and periods, what the services are asked, and what is shown."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from meterlog.aggregator.v1 import aggregator_pb2 as aggregator
from meterlog.aggregator.v1 import correction_pb2 as correction
from meterlog.aggregator.v1 import storage_pb2 as storage
from services.cli.__main__ import main

AT = Timestamp(seconds=1_767_225_600)
JANUARY = ("--from", "2026-01-01", "--to", "2026-02-01")
METER = aggregator.Meter(slug="calls", event_type="api.call", aggregation=aggregator.AGGREGATION_COUNT, version=3)
PREVIEW = correction.PreviewCancellationResponse(
    usage_event_count=3, share_millionths=12_345, first_at=AT, last_at=AT, subject_count=2, position=88
)
DECISION = correction.CorrectionDecision(reason="a test", decided_by="ann", decided_at=AT)
CORRECTION = correction.Correction(key="oops", is_cancellation=True, usage_event_count=3, decision=DECISION)
EVENT = aggregator.RecordedUsageEvent(id="1", source="s", type="t", value="2", properties={"a": "1", "b": "2"})

ANSWERS = {
    "GetMeter": aggregator.GetMeterResponse(meter=METER),
    "ListMeters": aggregator.ListMetersResponse(meters=[METER]),
    "RedefineMeter": aggregator.RedefineMeterResponse(meter=METER),
    "PreviewMeter": aggregator.PreviewMeterResponse(usage_event_count=10, counted_count=4, changed_subject_count=1),
    "QueryUsage": aggregator.QueryUsageResponse(rows=[aggregator.UsageRow(start_at=AT, end_at=AT, value="7")]),
    "GetUsageEvent": aggregator.GetUsageEventResponse(event=EVENT),
    "ListUsageEvents": aggregator.ListUsageEventsResponse(events=[EVENT] * 3, next_page_token="more"),
    "ListClosedPeriods": aggregator.ListClosedPeriodsResponse(
        periods=[aggregator.ClosedPeriod(subject="acme", period="week", start_at=AT, end_at=AT, totals={"calls": "7"})]
    ),
    "ClosePeriod": aggregator.ClosePeriodResponse(closed_count=2, already_closed_count=1),
    "PreviewCancellation": PREVIEW,
    "GetCorrection": grpc.StatusCode.NOT_FOUND,
    "CancelUsage": correction.CancelUsageResponse(correction=CORRECTION),
    "AmendUsage": correction.AmendUsageResponse(correction=CORRECTION),
    "OpenBackfill": correction.OpenBackfillResponse(backfill=correction.Backfill(key="b", opened=DECISION)),
    "CheckUsage": storage.CheckUsageResponse(
        check=storage.UsageCheck(
            checked_count=5, difference_count=1, differences=[storage.UsageDifference(meter="calls")]
        )
    ),
}


class Services:
    """Answers every call of the aggregator from ANSWERS, and keeps what it was asked."""

    def __init__(self):
        self.asked = {}
        self.server = grpc.server(ThreadPoolExecutor(4))
        for module in (aggregator, correction, storage):
            for service in module.DESCRIPTOR.services_by_name.values():
                self.server.add_generic_rpc_handlers((self.handler(module, service),))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def handler(self, module, service):
        methods = {
            method.name: grpc.unary_unary_rpc_method_handler(
                self.answer(method.name),
                request_deserializer=getattr(module, method.input_type.name).FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )
            for method in service.methods
            if method.name in ANSWERS
        }
        return grpc.method_handlers_generic_handler(service.full_name, methods)

    def answer(self, name):
        def ask(request, context):
            self.asked[name] = request
            found = ANSWERS[name]
            return context.abort(found, "none") if isinstance(found, grpc.StatusCode) else found

        return ask


@pytest.fixture(scope="module")
def services():
    started = Services()
    yield started
    started.server.stop(None).wait(60)


@pytest.fixture
def run(services, monkeypatch, capsys):
    """Runs `meterlog …`; its exit code, and the JSON or the text."""
    services.asked.clear()
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("USER", raising=False)
    for name in ("INGEST", "AGGREGATOR", "RATING", "NOTIFIER"):
        monkeypatch.setenv(f"METERLOG_{name}_ADDRESS", services.address)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["meterlog", *arguments])
        capsys.readouterr()
        code = main()
        output = capsys.readouterr()
        return code, json.loads(output.out) if "--json" in arguments else output.out + output.err

    return command


@pytest.mark.parametrize("command", [("usage",), ("usage", "query")])
def test_usage_is_asked_with_every_option_with_and_without_the_word_query(run, services, command):
    options = (
        "--meter",
        "calls",
        "--window",
        "week",
        "--zone",
        "Asia/Kathmandu",
        "--group-by",
        "customer",
        "--top",
        "5",
    )
    code, rows = run(*command, *JANUARY, *options, "--filter", "model=a,b", "--as-of", "9", "--json")
    asked = services.asked["QueryUsage"]
    assert (code, rows[0]["quantity"]) == (0, "7")
    assert (asked.top, asked.as_of, list(asked.group_by)) == (5, 9, ["subject"])
    assert asked.window == aggregator.WINDOW_WEEK
    assert asked.start_at.ToJsonString() == "2025-12-31T18:15:00Z"
    assert list(asked.filters[0].values) == ["a", "b"]


def test_a_condition_that_is_none_is_a_wrong_call_that_names_the_option(run):
    code, text = run("usage", *JANUARY, "--meter", "calls", "--filter", "=large")
    assert (code, "--filter:" in text) == (2, True)


def test_usage_events_are_shown_up_to_the_limit(run, services):
    code, events = run("usage", "events", "--where", "bytes>=100", "--state", "held", "--limit", "2", "--json")
    asked = services.asked["ListUsageEvents"]
    assert (code, len(events), events[0]["properties"]) == (0, 2, {"a": "1", "b": "2"})
    assert (asked.state, asked.conditions[0].property) == (aggregator.USAGE_STATE_HELD, "bytes")
    assert run("usage", "events", "--state", "gone")[0] == 2


def test_one_usage_event_is_shown_by_its_name(run, services):
    code, event = run("usage", "event", "s", "1", "--json")
    asked = services.asked["GetUsageEvent"]
    assert (code, asked.source, asked.id, event["value"]) == (0, "s", "1", "2")


def test_the_greatest_customer_stands_first(run, monkeypatch):
    customers = [("ann", "7"), ("bob", "12.5"), ("cem", "9")]
    rows = [
        aggregator.UsageRow(start_at=AT, end_at=AT, group={"subject": key}, value=value) for key, value in customers
    ]
    monkeypatch.setitem(ANSWERS, "QueryUsage", aggregator.QueryUsageResponse(rows=rows))
    _, text = run("usage", *JANUARY, "--meter", "calls", "--group-by", "customer", "--top", "3")
    assert text.index("bob") < text.index("cem") < text.index("ann")


def test_a_wrong_choice_is_told_with_the_right_ones(run):
    code, text = run("usage", *JANUARY, "--window", "fortnight")
    assert (code, "'fortnight' is not one of 'none', 'minute'" in text, "--help" in text) == (2, True, True)
    assert "Value error" not in text


def test_a_check_that_finds_a_difference_fails(run):
    code, check = run("usage", "check", "--all", "--json")
    assert (code, check["difference_count"], check["differences"][0]["meter"]) == (1, 1, "calls")


def test_a_filter_is_previewed_and_cancelled_as_previewed_once_somebody_agrees(run, services):
    code, done = run("corrections", "cancel", "oops", "--reason", "a test", "--meter", "calls", "--yes", "--json")
    asked = services.asked["CancelUsage"]
    assert (code, done["key"], done["decision"]["decided_at"]) == (0, "oops", "2026-01-01T00:00:00Z")
    assert (asked.expected_count, asked.until_position, asked.filter.meter) == (3, 88, "calls")


def test_what_nobody_agrees_to_is_not_cancelled(run, services, monkeypatch):
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    code, text = run("corrections", "cancel", "oops", "--reason", "a test", "--where", "model=large")
    assert (code, "nothing was cancelled" in text) == (2, True)
    assert "3 usage events (1.2345 % of all)" in text
    assert "CancelUsage" not in services.asked


def test_a_repeated_cancellation_says_what_the_first_said_and_asks_nobody(run, services, monkeypatch):
    decided = correction.Correction(key="oops", is_cancellation=True, usage_event_count=2, until_position=77)
    monkeypatch.setitem(ANSWERS, "GetCorrection", correction.GetCorrectionResponse(correction=decided))
    monkeypatch.setitem(ANSWERS, "PreviewCancellation", correction.PreviewCancellationResponse(position=88))
    code, _ = run("corrections", "cancel", "oops", "--reason", "a test", "--meter", "calls")
    asked = services.asked["CancelUsage"]
    assert (code, asked.expected_count, asked.until_position) == (0, 2, 77)
    assert "PreviewCancellation" not in services.asked


def test_a_filter_that_hits_nothing_cancels_nothing(run, services, monkeypatch):
    monkeypatch.setitem(ANSWERS, "PreviewCancellation", correction.PreviewCancellationResponse(position=88))
    code, text = run("corrections", "cancel", "oops", "--reason", "a test", "--meter", "calls", "--yes")
    assert (code, "nothing to cancel" in text) == (1, True)
    assert "CancelUsage" not in services.asked


def test_choosing_by_nothing_would_hit_everything_and_is_refused(run, services):
    code, text = run("corrections", "cancel", "oops", "--reason", "a test", "--yes")
    assert (code, "nothing chooses usage events" in text) == (2, True)
    assert services.asked == {}


@pytest.mark.parametrize(
    "options",
    [("--id", "1"), ("--id", "1", "--source", "a", "--source", "b"), ("--id", "1", "--source", "a", "--type", "t")],
)
def test_ids_are_those_of_one_source_and_nothing_else(run, options):
    assert run("corrections", "preview", *options)[0] == 2


def test_named_usage_events_are_cancelled_without_a_preview(run, services):
    code, _ = run(
        "corrections", "cancel", "oops", "--reason", "r", "--source", "s", "--id", "1", "--id", "2", "--by", "ann"
    )
    asked = services.asked["CancelUsage"]
    assert (code, [name.id for name in asked.names], asked.decided_by) == (0, ["1", "2"], "ann")
    assert not asked.HasField("filter")


def test_an_amended_property_leaves_the_others_as_they_are(run, services):
    options = ("--source", "s", "--id", "1", "--property", "a=9", "--property", "c=x=y", "--without", "b")
    code, _ = run("corrections", "amend", "fix", "--reason", "r", *options)
    asked = services.asked["AmendUsage"]
    assert (code, dict(asked.properties.properties)) == (0, {"a": "9", "c": "x=y"})
    assert not asked.HasField("value")


@pytest.mark.parametrize("options", [(), ("--property", "a"), ("--without", "z")])
def test_an_amendment_that_changes_nothing_or_makes_no_sense_is_refused(run, services, options):
    assert run("corrections", "amend", "fix", "--reason", "r", "--source", "s", "--id", "1", *options)[0] == 2
    assert "AmendUsage" not in services.asked


def test_a_redefinition_keeps_what_is_not_said_and_tells_the_version_that_was_seen(run, services):
    code, _ = run("meters", "redefine", "calls", "--filter", "model=large", "--effective-from", "2026-01-01")
    asked = services.asked["RedefineMeter"]
    assert (code, asked.expected_version, asked.meter.event_type) == (0, 3, "api.call")
    assert asked.effective_from == AT
    assert (asked.meter.version, asked.meter.filters[0].property) == (0, "model")
    assert run("meters", "redefine", "calls")[0] == 2


def test_an_expression_takes_the_place_of_a_property_and_the_reverse(run, services, monkeypatch):
    summed = aggregator.Meter(slug="calls", aggregation=aggregator.AGGREGATION_SUM, value_property="input")
    monkeypatch.setitem(ANSWERS, "GetMeter", aggregator.GetMeterResponse(meter=summed))
    run("meters", "redefine", "calls", "--value-expression", "input + output")
    asked = services.asked["RedefineMeter"].meter
    assert (asked.value_expression, asked.value_property) == ("input + output", "")
    monkeypatch.setitem(ANSWERS, "GetMeter", aggregator.GetMeterResponse(meter=asked))
    run("meters", "redefine", "calls", "--value-property", "output")
    asked = services.asked["RedefineMeter"].meter
    assert (asked.value_expression, asked.value_property) == ("", "output")


def test_a_preview_of_a_meter_says_what_would_change(run):
    code, text = run("meters", "preview", "calls", *JANUARY, "--aggregation", "sum")
    assert (code, "4 of 10 usage events would be counted" in text) == (0, True)
    assert run("meters", "preview", "calls", *JANUARY, "--aggregation", "median")[0] == 2


def test_a_backfill_that_replaces_says_what(run, services):
    code, _ = run("backfills", "open", "b", "--reason", "r", "--replace", *JANUARY, "--customer", "acme")
    asked = services.asked["OpenBackfill"]
    assert (code, asked.replaces_existing, asked.start_at, list(asked.subjects)) == (0, True, AT, ["acme"])
    code, text = run("backfills", "open", "b", "--reason", "r", "--replace", "--from", "2026-01-01")
    assert (code, "--replace needs --from and --to" in text) == (2, True)


def test_periods_are_listed_and_closed_by_hand(run, services):
    code, (period,) = run("periods", "list", "--period", "week", "--restated", "--json")
    assert (code, period["totals"], services.asked["ListClosedPeriods"].only_restated) == (0, {"calls": "7"}, True)
    code, text = run("periods", "close", "--at", "2026-01-15", "--period", "week", "--zone", "Pacific/Apia")
    assert (code, text) == (0, "2 periods closed, 1 was closed already\n")
    assert services.asked["ClosePeriod"].time_zone == "Pacific/Apia"
