"""How a service is kept running."""

import threading

from services.cli.processes import keeper
from services.cli.processes.keeper import FAILED_STARTS_MAX, Keeper

WAIT_S = 60.0


class ScriptedChild:
    """A child that lives until it is told to end, or dies by itself at once."""

    pid = 7

    def __init__(self, dies_at_once: bool = False) -> None:
        self.ended = threading.Event()
        self.was_terminated = False
        if dies_at_once:
            self.ended.set()

    def is_running(self) -> bool:
        return not self.ended.is_set()

    def terminate(self) -> None:
        self.was_terminated = True
        self.ended.set()

    def kill(self) -> None:
        self.ended.set()

    def wait(self) -> str:
        self.ended.wait(WAIT_S)
        return "ended with exit code 2"

    def last_words(self) -> str:
        return "METERLOG_CLOCK is wrong"


class Stage:
    """Children in the order in which they are started, and what the keeper said."""

    def __init__(self, *children: ScriptedChild) -> None:
        self._children = iter(children)
        self.said: list[str] = []
        self.news = threading.Condition()
        self.keeper = Keeper("ingest", self._next, lambda: True, self._say)  # type: ignore[arg-type]  # scripted

    def _next(self) -> ScriptedChild:
        return next(self._children)

    def _say(self, _level: str, text: str) -> None:
        with self.news:
            self.said.append(text)
            self.news.notify_all()

    def wait_for(self, count: int) -> None:
        with self.news:
            assert self.news.wait_for(lambda: len(self.said) >= count, WAIT_S)


def test_a_service_that_dies_is_started_again_and_it_is_said() -> None:
    first, second = ScriptedChild(), ScriptedChild()
    stage = Stage(first, second)
    stage.keeper.start()
    stage.keeper.kill()
    stage.wait_for(2)
    stage.keeper.ask_to_stop()
    assert stage.keeper.join(WAIT_S)
    assert stage.said == ["ended with exit code 2; starting it again in 0.2 s", "is healthy again, process 7"]
    assert second.was_terminated


def test_a_service_that_never_becomes_healthy_is_given_up_with_its_own_words() -> None:
    stage = Stage(*(ScriptedChild(dies_at_once=True) for _ in range(FAILED_STARTS_MAX)))
    stage.keeper.start()
    assert stage.keeper.join(WAIT_S)
    assert stage.keeper.failure == "ingest does not start (ended with exit code 2): METERLOG_CLOCK is wrong"
    assert stage.keeper.starts == FAILED_STARTS_MAX


def test_a_service_that_was_asked_to_stop_is_not_started_again() -> None:
    child = ScriptedChild()
    stage = Stage(child)
    stage.keeper.start()
    stage.keeper.ask_to_stop()
    assert stage.keeper.join(WAIT_S)
    assert stage.keeper.starts <= 1
    assert stage.keeper.failure == ""


def test_a_pause_between_restarts_doubles_up_to_its_bound() -> None:
    pauses = [keeper.pause_before_restart_s(deaths) for deaths in range(1, 9)]
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
