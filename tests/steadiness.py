"""Runs all tests; a few that fail are run again, alone, and count as green only when they then pass every time.

`python -m tests.steadiness REPORT [options of pytest]` is the build machine's last net. A defect fails again and stays
red. A test that passes when repeated is unsteady: REPORT then names it, with its first traceback, and it gets an issue.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

UNSTEADY_MAX: Final = 3
"""More failures than these are no accident: nothing is repeated."""

REPEATS: Final = 3
ALL_TESTS_TIMEOUT_S: Final = 1_800
REPEAT_TIMEOUT_S: Final = 400
"""The slowest three tests, on a machine with other work."""

_PASSED, _SOME_FAILED, _OUT_OF_TIME = 0, 1, 124
_BANNER = "=" * 100


@dataclass(frozen=True, slots=True)
class Run:
    """What became of one run of pytest: its exit code, and the traceback of each test that failed, by its id."""

    code: int
    failures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The exit code for the build machine, and the tests that failed at first and never again."""

    code: int
    unsteady: Mapping[str, str] = field(default_factory=dict)


def verdict(run: Callable[[Sequence[str]], Run]) -> Verdict:
    """Run all tests (no ids), and when few fail, those again, REPEATS times.

    Only failed tests are repeated: a run that broke off, or could not collect, is red at once.
    """
    first = run(())
    if first.code != _SOME_FAILED or not 0 < len(first.failures) <= UNSTEADY_MAX:
        return Verdict(first.code)
    for _ in range(REPEATS):
        if run(sorted(first.failures)).code != _PASSED:
            return Verdict(first.code)
    return Verdict(_PASSED, first.failures)


def report(unsteady: Mapping[str, str]) -> str:
    """What a person reads at the very end; empty when every test was steady."""
    if not unsteady:
        return ""
    names = "\n".join(f"  {name}" for name in sorted(unsteady))
    tracebacks = "\n".join(f"{_BANNER}\n{name}\n\n{unsteady[name]}\n" for name in sorted(unsteady))
    return (
        f"{_BANNER}\nUNSTEADY: failed once, then passed {REPEATS} times alone. Open an issue for each:\n\n"
        f"{names}\n\n{tracebacks}{_BANNER}\n"
    )


def pytest_run(options: Sequence[str], tests: Sequence[str]) -> Run:
    """These tests, or all, in a process of their own; one that ends in no way of pytest's has no failures to repeat."""
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "failures.json"
        command = [sys.executable, "-m", "tests.failures", str(notes), *options, *tests]
        try:
            code = subprocess.run(
                command, check=False, timeout=REPEAT_TIMEOUT_S if tests else ALL_TESTS_TIMEOUT_S
            ).returncode
        except subprocess.TimeoutExpired:
            return Run(_OUT_OF_TIME)
        return Run(code, json.loads(notes.read_text()) if notes.exists() else {})


def main() -> int:
    """Write the report, also when there is nothing to tell."""
    path, *options = sys.argv[1:]
    found = verdict(lambda tests: pytest_run(options, tests))
    Path(path).write_text(report(found.unsteady))
    return found.code


if __name__ == "__main__":
    sys.exit(main())
