"""A failpoint does nothing unless it was armed, and then what it was armed with, at the passages that were named."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from services.kernel.errors import InvalidInput, Unavailable
from services.kernel.failpoint import NAMES, VARIABLE, Action, Failpoints, announcement

POINT = "append.before_commit"
TIMEOUT_S = 30.0


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_point_that_is_not_armed_does_nothing(name: str) -> None:
    Failpoints("").pass_by(name)
    Failpoints("swap.after_commit=error@2").pass_by(name)


def test_an_error_is_raised_at_the_passage_that_was_named_and_only_there() -> None:
    points = Failpoints(f"{POINT}=error@3")
    points.pass_by(POINT)
    points.pass_by(POINT)
    with pytest.raises(Unavailable) as raised:
        points.pass_by(POINT)
    assert raised.value.reason == "FAILPOINT"
    points.pass_by(POINT)


def test_an_error_is_raised_again_at_each_so_many_th_passage() -> None:
    points, raised = Failpoints(f"{POINT}=error@2+3"), []
    for passage in range(1, 10):
        try:
            points.pass_by(POINT)
        except Unavailable:
            raised.append(passage)
    assert raised == [2, 5, 8]


def test_several_points_are_armed_at_once_and_the_first_passage_is_the_default() -> None:
    points = Failpoints(f" {POINT}=error , fold.before_commit=error@1,")
    for name in (POINT, "fold.before_commit"):
        with pytest.raises(Unavailable, match=name):
            points.pass_by(name)


def test_of_many_threads_that_pass_one_meets_the_action() -> None:
    points, met = Failpoints(f"{POINT}=error@50"), []

    def pass_often() -> None:
        for _ in range(25):
            try:
                points.pass_by(POINT)
            except Unavailable:
                met.append(1)

    threads = [threading.Thread(target=pass_often, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert len(met) == 1


@pytest.mark.parametrize(
    "text", ["nowhere=kill", f"{POINT}=explode", f"{POINT}=kill@x", POINT, f"{POINT}=kill@0", f"{POINT}=kill@1+0"]
)
def test_what_is_no_failpoint_is_refused_and_says_how_to_write_one(text: str) -> None:
    with pytest.raises(InvalidInput, match="write <name>="):
        Failpoints(text)


def test_a_point_that_is_not_listed_is_an_error_of_the_program() -> None:
    with pytest.raises(AssertionError, match="add it to NAMES"):
        Failpoints("").pass_by("append.somewhere")


def test_a_process_is_killed_where_its_environment_says_and_says_so() -> None:
    program = f"from services.kernel.failpoint import fail_at; fail_at('{POINT}'); print('alive')"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), VARIABLE: f"{POINT}=kill"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout == ""
    assert ended.stderr == announcement(POINT, Action.KILL)
