"""Generated usage, not real traffic: one hour of LLM chat requests, seeded, in the columns of a public LLM trace.

The same seed and number of rows give the same bytes on every machine: only integer draws are used. The shape is that of
a busy chat service: a quiet start, a rush in the middle, prompts of around a thousand tokens with a long tail, and
answers that are mostly short.
"""

import random
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

SEED = 2023
ROWS = 19_000
FILE_NAME = "generated_llm_hour.csv"
NOTICE = "This usage is generated from a seed; it is not real traffic."

_HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens"
_TICKS_PER_MINUTE = 60 * 10_000_000
_FIRST_MINUTE = 18 * 60 + 15
# How busy each ten minutes of the hour are.
_RUSH = (4, 7, 9, 11, 9, 5)
_PER_MILLE = 1000


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A long-tailed distribution of whole numbers: (per mille of the draws, largest value of those) in rising order.

    Between two of them every value is as likely as the next.
    """

    least: int
    steps: tuple[tuple[int, int], ...]

    def draw(self, source: random.Random) -> int:
        """One value."""
        step = bisect([per_mille for per_mille, _ in self.steps], source.randrange(_PER_MILLE))
        low = self.least if step == 0 else self.steps[step - 1][1] + 1
        return source.randint(low, self.steps[step][1])


_CONTEXT_TOKENS = Quantiles(
    2, ((50, 170), (250, 400), (500, 1_000), (750, 1_250), (900, 2_600), (985, 4_200), (999, 6_300), (1000, 14_000))
)
_GENERATED_TOKENS = Quantiles(
    7, ((50, 40), (250, 85), (500, 130), (740, 390), (900, 430), (950, 460), (990, 610), (1000, 1_000))
)


def generate_usage(path: Path, seed: int = SEED, rows: int = ROWS) -> None:
    """Write the file, its rows in the order of time."""
    source = random.Random(seed)  # noqa: S311 (the same numbers each time are the point)
    ticks = sorted(_tick(source) for _ in range(rows))
    with path.open("w", encoding="ascii", newline="") as file:
        file.writelines(_lines(ticks, source))


def _lines(ticks: list[int], source: random.Random) -> Iterator[str]:
    yield f"{_HEADER}\r\n"
    for tick in ticks:
        yield f"{_time(tick)},{_CONTEXT_TOKENS.draw(source)},{_GENERATED_TOKENS.draw(source)}\r\n"


def _tick(source: random.Random) -> int:
    """An instant of the hour, in ticks of 100 ns since its start."""
    weights = list(accumulate(_RUSH))
    ten_minutes = bisect(weights, source.randrange(weights[-1]))
    return (ten_minutes * 10 * _TICKS_PER_MINUTE) + source.randrange(10 * _TICKS_PER_MINUTE)


def _time(tick: int) -> str:
    minute, ticks = divmod(tick, _TICKS_PER_MINUTE)
    hour, minute = divmod(_FIRST_MINUTE + minute, 60)
    second, fraction = divmod(ticks, 10_000_000)
    return f"2023-11-16 {hour:02}:{minute:02}:{second:02}.{fraction:07}"
