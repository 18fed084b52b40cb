"""Runs a seeded bug through the kind of trial that must find it out."""

from pathlib import Path

from tests.crash.fold_kills import killed_while_folding
from tests.crash.metering.fleet import aggregator_names
from tests.crash.metering.storm import MeteringStorm, metered
from tests.crash.power_cut import cut_off
from tests.crash.seeded_bugs import SEEDED_BUGS, Stage
from tests.crash.storm import Storm, weathered
from tests.crash.system_calls import KILLS, RAISES, Case, tried
from tests.crash.trial import Trial

STORM_SECONDS = 3.0
METERING_SECONDS = 4.0
METERING_CALM_TIMEOUT_S = 60.0
CALM_TIMEOUT_S = 6.0
REPLICAS = 3
LIVES_MAX = 6
"""Lives until a bug must have shown; most show in the first or second."""

HUNTS_MAX = 6
"""Trials until a bug must have shown; nearly all show in the first."""
CUTS_MAX = 100


def hunted(name: str, folder: Path, seed: int) -> Trial:
    """Trials with the bug planted, from one seed after the other, until one breaks a law that the bug must break."""
    for attempt in range(HUNTS_MAX):
        its_folder = folder / str(attempt)
        its_folder.mkdir()
        trial = _tried(name, its_folder, seed + attempt)
        if is_caught(name, trial):
            break
    return trial


def is_caught(name: str, trial: Trial) -> bool:
    """Whether a law was broken that the bug must break."""
    return bool(trial.laws & SEEDED_BUGS[name].breaks)


def _tried(name: str, folder: Path, seed: int) -> Trial:
    match SEEDED_BUGS[name].stage:
        case Stage.STORM:
            return weathered(Storm("sqlite", seed, STORM_SECONDS, name, CALM_TIMEOUT_S), folder)
        case Stage.KILLED_WHILE_WRITING:
            return tried(Case("pwrite64", KILLS), folder, seed, LIVES_MAX, name)
        case Stage.KILLED_WHILE_SYNCING:
            return tried(Case("fdatasync", KILLS), folder, seed, LIVES_MAX, name)
        case Stage.DISK_FAILS:
            return tried(Case("pwrite64", "EIO"), folder, seed, LIVES_MAX, name)
        case Stage.ANSWERS_LOST:
            return tried(Case("append.after_commit", RAISES), folder, seed, LIVES_MAX, name)
        case Stage.POWER_CUT:
            return cut_off(folder, seed, CUTS_MAX, name)
        case Stage.KILLED_WHILE_FOLDING:
            return killed_while_folding(folder, seed, LIVES_MAX, name)
        case Stage.METERING:
            return metered(_metering_storm(name, seed), folder)


def _metering_storm(name: str, seed: int) -> MeteringStorm:
    """Only the service with the bug is killed, and only where it shows."""
    bug = SEEDED_BUGS[name]
    if bug.service == "aggregators":
        return _storm_over_replicas(name, seed)
    process = {"ingest": "ingest-0", "aggregator": "aggregator"}[bug.service]
    return MeteringStorm(
        "sqlite",
        seed,
        METERING_SECONDS,
        planted={process: (name,)},
        points={"ingest-0": (), "aggregator": (), process: bug.points},
        suffices=(bug.breaks,),
        is_thorough=True,
        calm_timeout_s=METERING_CALM_TIMEOUT_S,
    )


def _storm_over_replicas(name: str, seed: int) -> MeteringStorm:
    """Nobody is killed: the bug is in each of them, and shows as soon as two are there."""
    names = aggregator_names(REPLICAS)
    return MeteringStorm(
        "sqlite",
        seed,
        METERING_SECONDS,
        aggregators=REPLICAS,
        planted=dict.fromkeys(names, (name,)),
        points=dict.fromkeys(("ingest-0", *names), ()),
        suffices=(SEEDED_BUGS[name].breaks,),
        calm_timeout_s=METERING_CALM_TIMEOUT_S,
    )


def all_of_metering(seed: int) -> MeteringStorm:
    """Several bugs of metering at once, each of which has a law of its own to break: for those who have little time."""
    planted = {
        "ingest-0": ("manifest_before_its_run",),
        "ingest-1": ("newest_forgotten",),
        "aggregator": ("archive_position_in_second_transaction",),
    }
    points = {
        process: tuple(point for name in names for point in SEEDED_BUGS[name].points)
        for process, names in planted.items()
    }
    return MeteringStorm(
        "sqlite",
        seed,
        METERING_SECONDS,
        ingests=2,
        planted=planted,
        points=points,
        suffices=[SEEDED_BUGS[name].breaks for names in planted.values() for name in names],
        is_thorough=True,
        calm_timeout_s=METERING_CALM_TIMEOUT_S,
    )
