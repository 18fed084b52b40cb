"""A writer of the SQLite log that is killed, or whose disk fails, at any system call: nothing acknowledged is lost."""

from pathlib import Path

import pytest

from tests.crash.power_cut import cut_off
from tests.crash.storm import Storm, weathered
from tests.crash.strace import can_inject
from tests.crash.system_calls import CASES, Case, tried

SEED = 20240131
LIVES = 2
CUTS = 30
STORM_SECONDS = 3.0


def without_strace(folder: Path) -> None:
    """Where no system call can be chosen, at least random moments are: `make crash` asks for strace."""
    assert weathered(Storm("sqlite", SEED, STORM_SECONDS), folder).violations == ()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_fault_at_a_chosen_point_loses_nothing(case: Case, tmp_path: Path) -> None:
    if not case.is_failpoint and not can_inject():
        return without_strace(tmp_path)
    trial = tried(case, tmp_path, SEED, LIVES)
    assert trial.violations == ()
    assert trial.faults[str(case)] >= 1, f"it never happened: {trial.faults}"
    assert trial.acknowledged > 0
    return None


def test_a_power_cut_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    if not can_inject():
        return without_strace(tmp_path)
    trial = cut_off(tmp_path, SEED, CUTS)
    assert trial.violations == ()
    assert trial.faults["power cut"] == CUTS
    assert trial.acknowledged > 0
    return None
