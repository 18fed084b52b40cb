"""Bugs planted on purpose are caught, each by the law that it breaks: so the harness would see them in the product."""

from pathlib import Path

import pytest

from tests.crash.bug_hunt import hunted, is_caught
from tests.crash.seeded_bugs import SEEDED_BUGS, Stage
from tests.crash.strace import can_inject

SEED = 20240131
WITHOUT_STRACE = {Stage.STORM, Stage.ANSWERS_LOST, Stage.KILLED_WHILE_FOLDING}


def catchable() -> list[str]:
    """Those that show only at a chosen system call need strace."""
    return [name for name, bug in SEEDED_BUGS.items() if can_inject() or bug.stage in WITHOUT_STRACE]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", catchable())
def test_a_seeded_bug_is_caught(name: str, tmp_path: Path) -> None:
    trial = hunted(name, tmp_path, SEED)
    assert is_caught(name, trial), f"broken were {sorted(trial.laws)}, none of {sorted(SEEDED_BUGS[name].breaks)}"
