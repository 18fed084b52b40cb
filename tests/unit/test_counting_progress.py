"""How far a count of earlier usage is: what is shown of it, and what the log of the service says."""

import pytest
from structlog.testing import capture_logs

from services.aggregator.waiting.counting_progress import Counting, CountingProgress, CountingStep
from services.eventstore.event import BEGINNING, Position, StreamName

TOKENS = StreamName("meter", "tokens")
SEVENTH = Position(7)


class Watch:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.at_s = 100.0

    def __call__(self) -> float:
        return self.at_s


def test_a_count_shows_what_was_looked_at_of_how_much_how_fast_and_how_long_still() -> None:
    watch = Watch()
    progress = CountingProgress(watch)
    with progress.counting(SEVENTH, [TOKENS]) as tally:
        assert progress.running(BEGINNING) == Counting(SEVENTH, (TOKENS,))
        tally.begin(CountingStep.COUNTING)
        tally.expect(1_000)
        watch.at_s += 2
        tally.looked_at(400)

        found = progress.running(BEGINNING)

        assert found is not None
        assert (found.step, found.done, found.total) == (CountingStep.COUNTING, 400, 1_000)
        assert (found.per_second, found.seconds_left) == (200, 3)
        assert found.text() == "counting: 400 of 1000 usage events, about 3 s left"
    assert progress.running(BEGINNING) is None


def test_each_step_begins_at_nothing() -> None:
    watch = Watch()
    progress = CountingProgress(watch)
    with progress.counting(SEVENTH, [StreamName("correction", "c")]) as tally:
        tally.begin(CountingStep.SEARCHING)
        tally.expect(10)
        tally.looked_at(10)
        watch.at_s += 5
        tally.begin(CountingStep.COUNTING)

        found = progress.running(BEGINNING)

    assert found == Counting(SEVENTH, (StreamName("correction", "c"),), CountingStep.COUNTING)
    assert (found.per_second, found.seconds_left) == (0, None)
    assert found.text() == "counting: 0 of 0 usage events"


def test_nothing_is_promised_before_anything_was_looked_at() -> None:
    assert Counting(SEVENTH).text() == "waiting for its turn"
    waiting = Counting(SEVENTH, step=CountingStep.SEARCHING, total=10, seconds=3.0)
    assert (waiting.seconds_left, waiting.text()) == (None, "looking for what it touches: 0 of 10 usage events")


def test_what_a_rebuild_counts_is_not_shown_because_the_live_tables_are_behind_it() -> None:
    progress = CountingProgress(Watch())
    with progress.counting(Position(3), [TOKENS]):
        assert progress.running(Position(3)) is None
        with progress.counting(SEVENTH, []):
            assert progress.running(Position(3)) == Counting(SEVENTH)


def test_a_count_that_fails_is_over() -> None:
    progress = CountingProgress()
    with pytest.raises(ValueError, match="poison"), progress.counting(SEVENTH, [TOKENS]):
        raise ValueError("poison")
    assert progress.running(BEGINNING) is None


def test_the_log_says_every_five_seconds_how_far_a_long_count_is_and_nothing_of_a_short_one() -> None:
    watch = Watch()
    progress = CountingProgress(watch)
    with capture_logs() as logs:
        with progress.counting(SEVENTH, [TOKENS]) as tally:
            tally.begin(CountingStep.COUNTING)
            tally.expect(30)
            for seconds in (1, 3, 4, 1, 5):
                watch.at_s += seconds
                tally.looked_at(6)
        with progress.counting(SEVENTH, [TOKENS]) as tally:
            tally.looked_at(1)

    said = [(line["event"], line["wanted_by"], line["usage_events"], line.get("of")) for line in logs]
    assert said == [
        ("counting earlier usage", ["meter-tokens"], 18, 30),
        ("counting earlier usage", ["meter-tokens"], 30, 30),
        ("earlier usage is counted", ["meter-tokens"], 30, None),
    ]
