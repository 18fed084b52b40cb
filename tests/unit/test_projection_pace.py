"""How fast a rebuild goes is told by what this run has folded, and never made up."""

from services.eventstore.event import BEGINNING, Position
from services.projection.pace import Pace, Start


def test_the_pace_is_told_by_the_share_of_positions_and_counts_only_this_run() -> None:
    start = Start(position=Position(1_000), events=500, at_s=10.0)
    assert start.pace(Position(2_000), Position(5_000), 1_500, now_s=12.0) == Pace(500, 6)
    assert start.pace(Position(5_000), Position(5_000), 4_500, now_s=18.0) == Pace(500, 0)


def test_nothing_is_said_of_the_pace_too_early_or_without_a_step() -> None:
    start = Start(position=BEGINNING, events=0, at_s=10.0)
    assert start.pace(Position(3), Position(9), 3, now_s=10.1) == Pace(0, None)
    assert start.pace(BEGINNING, Position(9), 0, now_s=20.0) == Pace(0, None)
