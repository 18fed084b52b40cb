"""What was tried and what came of it, and the report over all of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.crash.law import Law, Violation


@dataclass(frozen=True, slots=True)
class Trial:
    """What was tried on which backend from which seed, how often what went wrong, and what was broken by it."""

    what: str
    backend: str
    seed: int
    histories: int = 1
    """How many histories were checked: one after each life, or each cut."""
    kills: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    operations: int = 0
    acknowledged: int = 0
    events: int = 0
    violations: tuple[Violation, ...] = ()
    done: Counter[str] = field(default_factory=Counter)
    """What else was done, for the report."""

    @property
    def laws(self) -> frozenset[Law]:
        """The laws that were broken."""
        return frozenset(violation.law for violation in self.violations)

    def line(self) -> str:
        """The trial on one line."""
        faults = sum(self.faults.values())
        return (
            f"{self.backend:<10} {self.what:<44} seed {self.seed:<10} {self.kills:>5} kills {faults:>5} faults "
            f"{self.operations:>8} operations {self.acknowledged:>7} acknowledged {self.events:>8} events "
            f"{len(self.violations):>3} violations"
        )


def summary(trials: Sequence[Trial]) -> list[str]:
    """One line a backend over all trials, then what went wrong how often."""
    lines = []
    for backend in dict.fromkeys(trial.backend for trial in trials):
        its = [trial for trial in trials if trial.backend == backend]
        faults = sum((trial.faults for trial in its), Counter[str]())
        lines.append(
            f"{backend}: {sum(trial.histories for trial in its)} histories checked, "
            f"{sum(trial.kills for trial in its)} kills, {sum(faults.values())} faults, "
            f"{sum(trial.operations for trial in its)} operations, "
            f"{sum(trial.acknowledged for trial in its)} appends acknowledged, "
            f"{sum(len(trial.violations) for trial in its)} violations"
        )
        lines += [f"    {count:>5} × {name}" for name, count in sorted(faults.items())]
        done = sum((trial.done for trial in its), Counter[str]())
        lines += [f"    {count:>7} {name}" for name, count in sorted(done.items())]
    return lines
