"""Runs pytest and writes which tests failed, and why: `python -m tests.failures FILE [arguments of pytest]`."""

import json
import sys
from pathlib import Path

import pytest


class FailureNotes:
    """Notes the first traceback of each test that fails, in its setup, its call or its teardown."""

    def __init__(self) -> None:
        self.tracebacks: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest for each of the three phases of a test."""
        if report.failed:
            self.tracebacks.setdefault(report.nodeid, report.longreprtext)


def main() -> int:
    """The exit code is pytest's own; the file is written in the end, so a run that was killed leaves none."""
    path, *arguments = sys.argv[1:]
    notes = FailureNotes()
    code = pytest.main(arguments, plugins=[notes])
    Path(path).write_text(json.dumps(notes.tracebacks))
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
