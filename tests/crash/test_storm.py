"""Writers, readers and a projection over one log, killed, paused and cut off at random: no law is broken."""

from pathlib import Path

import pytest

from tests.crash.arena import BACKENDS
from tests.crash.storm import ACKNOWLEDGED_MIN, FAULTS_MIN, Storm, weathered

SEED = 20240131
SECONDS = 8.0


@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_storm_breaks_no_law_and_all_come_together_afterwards(backend: str, tmp_path: Path) -> None:
    trial = weathered(Storm(backend, SEED, SECONDS), tmp_path)
    assert trial.violations == ()
    assert trial.kills > 0
    assert sum(trial.faults.values()) >= FAULTS_MIN
    assert trial.acknowledged >= ACKNOWLEDGED_MIN
