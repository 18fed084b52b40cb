"""Archiving holds back, so that it is not felt; and makes haste when somebody waits for it."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from services.aggregator.archive import archiver, restraint
from services.aggregator.archive.restraint import ShareOfProcessor
from tests.aggregator_room import call
from tests.archive_room import WAIT_S, open_archive

FOR_EVER_S = 3_600.0


def in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def long_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever rests does so until he is told otherwise."""
    monkeypatch.setattr(restraint, "REST_S_MAX", FOR_EVER_S)


def worked(monkeypatch: pytest.MonkeyPatch, *clock_s: float) -> None:
    """What the processor's clock shows, look by look; then it stands still."""
    shown = list(clock_s)
    monkeypatch.setattr(restraint, "thread_time", lambda: shown.pop(0) if len(shown) > 1 else shown[0])


@pytest.mark.usefixtures("long_rests")
def test_who_worked_long_rests_until_somebody_waits_for_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    worked(monkeypatch, FOR_EVER_S)
    held_back = ShareOfProcessor(0.5)
    thread = in_thread(held_back.rest)
    thread.join(0.1)
    assert thread.is_alive(), "it has worked for an hour, and rests as long"
    with held_back.lifted():
        thread.join(WAIT_S)
    assert not thread.is_alive()


@pytest.mark.usefixtures("long_rests")
def test_short_work_goes_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    worked(monkeypatch, restraint.BUSY_S / 2)
    thread = in_thread(ShareOfProcessor(0.000_001).rest)
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_rest_is_as_long_as_the_share_says(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []

    class Bed:
        def wait(self, timeout_s: float) -> None:
            rests.append(timeout_s)

    worked(monkeypatch, 0.1, 0.1, 0.3, 0.3, 100.0, 100.0)
    held_back = ShareOfProcessor(0.25)
    monkeypatch.setattr(held_back, "_haste", Bed())
    for _ in range(3):
        held_back.rest()
    assert rests == pytest.approx([0.3, 0.6, restraint.REST_S_MAX])


@pytest.mark.usefixtures("long_rests")
def test_nobody_rests_once_it_is_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    worked(monkeypatch, FOR_EVER_S)
    held_back = ShareOfProcessor(0.5)
    held_back.end()
    with held_back.lifted():
        pass
    thread = in_thread(held_back.rest)
    thread.join(WAIT_S)
    assert not thread.is_alive()


@pytest.mark.usefixtures("long_rests")
def test_who_asks_for_the_archive_waits_for_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restraint, "BUSY_S", 0.0)
    monkeypatch.setattr(archiver, "SHARE_OF_PROCESSOR", 0.000_000_1)
    monkeypatch.setattr(archiver, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(archiver, "ARCHIVE_BATCHES", 1)
    with open_archive(tmp_path) as room:
        room.archiver.start()
        room.record([call(1), call(30)])
        room.compact()
        assert room.archived_rows() == 2
