"""Try a log under faults and say what was tried: `make crash`, or `python -m tests.crash --help`."""

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.crash.arena import BACKENDS
from tests.crash.bug_hunt import hunted, is_caught
from tests.crash.failpoint_matrix import failed_everywhere, killed_everywhere
from tests.crash.fold_kills import killed_while_folding
from tests.crash.metering.storm import METERING_BACKENDS, MeteringStorm, metered
from tests.crash.power_cut import cut_off
from tests.crash.seeded_bugs import SEEDED_BUGS
from tests.crash.storm import Storm, weathered
from tests.crash.strace import NO_STRACE, can_inject
from tests.crash.system_calls import CASES, tried
from tests.crash.trial import Trial, summary

STORM_SECONDS = 60
LIVES = 6
CUTS = 150
REPLICAS = {"sqlite": 1, "postgres": 3}
"""Aggregators of the storm that has two ingests; replicas need tables in PostgreSQL."""

Try = Callable[[Path], Trial]


def main(arguments: Sequence[str]) -> int:
    """0 when no law was broken and every seeded bug was caught; 2 when faults cannot be injected here."""
    wanted = _parser().parse_args(arguments)
    if not can_inject():
        print(NO_STRACE, file=sys.stderr)
        return 2
    print(f"seed {wanted.seed}: repeat with --seed {wanted.seed}", flush=True)
    trials = [_run(attempt) for attempt in _trials(wanted)]
    print("", *summary(trials), sep="\n")
    broken = sum(len(trial.violations) for trial in trials)
    escaped = [] if wanted.without_bugs else _escaped(wanted.seed)
    bugs = "seeded bugs were not tried" if wanted.without_bugs else f"{len(escaped)} seeded bugs escaped"
    print(f"\n{broken} violations; {bugs}", *escaped)
    return 1 if broken or escaped else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--seconds", type=int, default=STORM_SECONDS, help="length of each storm")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9), help="of all chances")
    parser.add_argument(
        "--backend", action="append", choices=BACKENDS, help="only this one; may be repeated (default: all)"
    )
    parser.add_argument("--lives", type=int, default=LIVES, help="processes that meet each fault at a system call")
    parser.add_argument("--only-storm", action="store_true", help="no system calls, no failpoints, no power cuts")
    parser.add_argument("--without-bugs", action="store_true", help="do not look whether seeded bugs are caught")
    return parser


def _trials(wanted: argparse.Namespace) -> Iterator[Try]:
    backends, seed = wanted.backend or BACKENDS, wanted.seed
    for backend in (each for each in backends if each in METERING_BACKENDS):
        for storm in (
            MeteringStorm(backend, seed, wanted.seconds, is_thorough=not wanted.only_storm),
            MeteringStorm(backend, seed, wanted.seconds, ingests=2, aggregators=REPLICAS[backend]),
        ):
            yield lambda folder, of=storm: metered(of, folder)
    for backend in backends:
        yield lambda folder, of=backend: weathered(Storm(of, seed, wanted.seconds), folder)
        if not wanted.only_storm:
            yield lambda folder, of=backend: killed_everywhere(of, folder, seed)
            yield lambda folder, of=backend: failed_everywhere(of, folder, seed)
    if "sqlite" in backends and not wanted.only_storm:
        for case in CASES:
            yield lambda folder, of=case: tried(of, folder, seed, wanted.lives)
        yield lambda folder: killed_while_folding(folder, seed, wanted.lives)
        yield lambda folder: cut_off(folder, seed, CUTS)


def _run(attempt: Try) -> Trial:
    folder = Path(tempfile.mkdtemp(prefix="meterlog-crash-"))
    trial = attempt(folder)
    print(trial.line(), flush=True)
    if trial.violations:
        print(*trial.violations, f"what was left behind is in {folder}", sep="\n", flush=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return trial


def _escaped(seed: int) -> list[str]:
    """The bugs that were planted and not found."""
    print("\nseeded bugs, each of which must be caught")
    return [name for name in SEEDED_BUGS if not _is_found(name, seed)]


def _is_found(name: str, seed: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="meterlog-bug-", ignore_cleanup_errors=True) as folder:
        trial = hunted(name, Path(folder), seed)
    is_found = is_caught(name, trial)
    shown = ", ".join(sorted(law.name for law in trial.laws)) or "nothing"
    print(f"{'caught ' if is_found else 'ESCAPED'} {name:<34} {SEEDED_BUGS[name].stands_for}: {shown}", flush=True)
    return is_found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
