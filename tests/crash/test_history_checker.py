"""The checker itself: a history that holds is accepted, and each way to spoil it is found, by the law it breaks."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.eventstore.event import RecordedEvent
from tests.crash.checker import violations
from tests.crash.forgeries import FORGERIES
from tests.crash.history import Delivery, History, Outcome, Rebuilt
from tests.crash.history_file import HistoryFile, read_history
from tests.crash.law import Law, Violation
from tests.crash.played_history import Play
from tests.crash.projection_laws import projection_violations
from tests.crash.tally import folded
from tests.crash.usage_laws import usage_violations

TURNS = 30
seeds = st.integers(0, 2**32)


def broken_laws(found: list[Violation]) -> set[Law]:
    return {violation.law for violation in found}


def checked(history: History, log: tuple[RecordedEvent, ...]) -> set[Law]:
    return broken_laws(violations(history, log, counts_positions=True))


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_a_history_that_holds_is_accepted(seed: int) -> None:
    history, log = Play(seed).run(TURNS)
    assert len(log) > TURNS / 2
    assert violations(history, log, counts_positions=True) == []


@pytest.mark.parametrize("name", FORGERIES)
@settings(max_examples=8, deadline=None)
@given(seed=seeds)
def test_a_history_that_was_spoiled_is_found_by_the_law_it_breaks(name: str, seed: int) -> None:
    forgery, law = FORGERIES[name]
    assert law in checked(*forgery(*Play(seed).run(TURNS)))


def test_every_law_of_a_log_is_broken_by_a_forgery() -> None:
    of_metering = {Law.DEDUPE, Law.WINDOWS, Law.PERIODS, Law.ARCHIVE, Law.OUTLIVES}
    elsewhere = {Law.PROJECTION, Law.CONVERGED, *of_metering}
    assert {law for _, law in FORGERIES.values()} == set(Law) - elsewhere


def test_an_append_whose_outcome_nobody_knows_may_be_there_or_not() -> None:
    found = set()
    for seed in range(10):
        history, log = Play(seed).run(TURNS)
        written = {event.id.hex for event in log}
        heard = {attempt.ids for attempt in history.attempts if attempt.outcome is not Outcome.UNKNOWN}
        found |= {attempt.ids[0] in written for attempt in history.attempts if attempt.ids not in heard}
        assert checked(history, log) == set()
    assert found == {True, False}


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_a_projection_that_is_a_fold_of_the_log_is_accepted_and_no_other(seed: int) -> None:
    _, log = Play(seed).run(TURNS)
    rows, end = folded(log), log[-1].position
    assert projection_violations(rows, end, (), log) == []
    assert projection_violations(folded(log[:-1]), log[-2].position, (), log) == []
    assert broken_laws(projection_violations(folded([*log, log[-1]]), end, (), log)) == {Law.PROJECTION}
    assert broken_laws(projection_violations(folded(log[1:]), end, (), log)) == {Law.PROJECTION}
    assert broken_laws(projection_violations(folded(reversed(log)), end, (), log)) == {Law.PROJECTION}
    assert broken_laws(projection_violations(rows, end + 1, (), log)) == {Law.PROJECTION}
    unequal = Rebuilt("projector", end, is_equal=False)
    assert broken_laws(projection_violations(rows, end, [unequal], log)) == {Law.PROJECTION}


def test_usage_that_was_answered_and_is_not_in_the_log_is_found() -> None:
    sent = {"what": "usage", "client": "c", "ids": ["a", "b"]}
    answered = {"what": "recorded", "client": "c", "ids": ["a", "b"], "outcomes": ["recorded", "conflict"]}
    assert broken_laws(usage_violations([sent, answered], [])) == {Law.KEPT, Law.FORESEEN}
    again = {"what": "recorded", "client": "c", "ids": ["a"], "outcomes": ["recorded"]}
    assert Law.ONCE in broken_laws(usage_violations([sent, answered, again], []))


def test_a_history_file_says_what_was_written_whatever_cut_it_off(tmp_path: Path) -> None:
    path = tmp_path / "worker.history"
    file = HistoryFile(path)
    file.write("append", "c", number=1, stream="own-c", expected=-1, ids=["aa"])
    file.write("ended", "c", number=1, outcome="acknowledged", answer=[1, 0, 7, ["bb"]], detail="")
    file.write("append", "c", number=2, stream="own-c", expected=0, ids=["cc"])
    file.write("subscribed", "f", after=0, categories=[])
    file.write("delivered", "f", events=[[1, "aa"]], position=1)
    file.close()
    whole = read_history(path)
    assert [attempt.outcome for attempt in whole.attempts] == [Outcome.ACKNOWLEDGED, Outcome.UNKNOWN]
    assert whole.sessions[0].deliveries == (Delivery(((1, "aa"),), 1),)
    text = path.read_bytes()
    for length in random.Random(1).sample(range(len(text)), 40):
        path.write_bytes(text[:length])
        whole_lines = text[:length].split(b"\n")[:-1]
        assert len(read_history(path).attempts) == sum(b'"append"' in line for line in whole_lines)
