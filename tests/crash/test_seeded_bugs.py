"""Bugs planted on purpose are caught, each by the law that it breaks: so the harness would see them in the product."""

from pathlib import Path

import pytest

from tests.crash.bug_hunt import all_of_metering, hunted, is_caught
from tests.crash.metering.storm import metered
from tests.crash.seeded_bugs import SEEDED_BUGS, Stage
from tests.crash.strace import can_inject

SEED = 20240131
WITHOUT_STRACE = {Stage.STORM, Stage.ANSWERS_LOST, Stage.KILLED_WHILE_FOLDING}


def catchable() -> list[str]:
    """Those that show only at a chosen system call need strace; those of metering share one storm below."""
    return [
        name
        for name, bug in SEEDED_BUGS.items()
        if bug.stage is not Stage.METERING and (can_inject() or bug.stage in WITHOUT_STRACE)
    ]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", catchable())
def test_a_seeded_bug_is_caught(name: str, tmp_path: Path) -> None:
    trial = hunted(name, tmp_path, SEED)
    assert is_caught(name, trial), f"broken were {sorted(trial.laws)}, none of {sorted(SEEDED_BUGS[name].breaks)}"


@pytest.mark.timeout(600)
def test_bugs_of_metering_are_caught_each_by_its_own_law(tmp_path: Path) -> None:
    storm = all_of_metering(SEED)
    trial = metered(storm, tmp_path)
    planted = [name for names in storm.planted.values() for name in names]
    escaped = [name for name in planted if not is_caught(name, trial)]
    assert escaped == [], f"broken were {sorted(trial.laws)}"
