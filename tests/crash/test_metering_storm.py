"""Metering under load: ingest and aggregator are killed again and again, and nothing is lost or counted twice."""

from pathlib import Path

import pytest

from tests.crash.metering.storm import MeteringStorm, metered

SEED = 20240131
SECONDS = 6.0


@pytest.mark.timeout(600)
def test_metering_loses_nothing_and_doubles_nothing_whatever_is_killed(tmp_path: Path) -> None:
    trial = metered(MeteringStorm("sqlite", SEED, SECONDS), tmp_path)
    assert trial.violations == ()
    assert sum(trial.faults.values()) > 2
    assert trial.acknowledged > 100
    assert trial.done["queries checked"] > 0
    assert trial.done["usage events archived, compacted"] >= trial.acknowledged
