"""What an import tells at its end."""

import json

from meterlog.client import UsageOutcome, UsageResult
from meterlog.ingest.v1.ingest_pb2 import UsageEvent
from services.cli.importing.batch import Batch
from services.cli.importing.row import Problem
from services.cli.importing.summary import ImportSummary


def result(outcome, **details):
    return UsageResult("trace.csv", "row", outcome, **details)


RESULTS = (
    result(UsageOutcome.RECORDED, position=5),
    result(UsageOutcome.INVALID, reason="TIME_IN_FUTURE", field="time", message="too late"),
    result(UsageOutcome.DUPLICATE, position=2),
    result(UsageOutcome.CONFLICT, position=2, reason="CONTENT_DIFFERS", message="other content"),
)
BROKEN = Problem(4, "", "TOO_FEW_COLUMNS", "the row has 1 columns, the header 3")
BATCH = Batch((UsageEvent(),) * 4, lines=(2, 3, 5, 6), problems=(BROKEN,), next_row=5, read_bytes=100)


def test_every_row_read_has_one_outcome():
    summary = ImportSummary().after(BATCH, RESULTS).after(BATCH, RESULTS)
    assert (summary.recorded, summary.duplicate, summary.conflict, summary.invalid) == (2, 2, 2, 4)
    assert summary.read == summary.recorded + summary.duplicate + summary.conflict + summary.invalid


def test_problems_stand_in_the_order_of_the_file():
    problems = ImportSummary().after(BATCH, RESULTS).problems
    assert [(problem.line, problem.reason) for problem in problems] == [
        (3, "TIME_IN_FUTURE"),
        (4, "TOO_FEW_COLUMNS"),
        (6, "CONTENT_DIFFERS"),
    ]


def test_an_import_is_clean_when_every_row_is_in_the_log():
    duplicates = Batch((UsageEvent(),), lines=(2,), problems=(), next_row=1, read_bytes=1)
    clean = ImportSummary().after(duplicates, [result(UsageOutcome.DUPLICATE)])
    assert (clean.is_clean, clean.exit_code) == (True, 0)
    assert (ImportSummary().after(BATCH, RESULTS).is_clean, ImportSummary().after(BATCH, RESULTS).exit_code) == (
        False,
        1,
    )


def test_the_summary_is_one_json_document():
    document = ImportSummary(seconds=1.23456).after(BATCH, RESULTS).document()
    assert json.loads(json.dumps(document)) == {
        "read": 5,
        "recorded": 1,
        "duplicate": 1,
        "conflict": 1,
        "invalid": 2,
        "reasons": [
            {"reason": "TIME_IN_FUTURE", "count": 1, "first_line": 3},
            {"reason": "TOO_FEW_COLUMNS", "count": 1, "first_line": 4},
            {"reason": "CONTENT_DIFFERS", "count": 1, "first_line": 6},
        ],
        "problems": [
            {"line": 3, "field": "time", "reason": "TIME_IN_FUTURE", "message": "too late"},
            {"line": 4, "field": "", "reason": "TOO_FEW_COLUMNS", "message": "the row has 1 columns, the header 3"},
            {"line": 6, "field": "", "reason": "CONTENT_DIFFERS", "message": "other content"},
        ],
        "problems_not_shown": 0,
        "resumed_rows": 0,
        "seconds": 1.235,
    }
