"""When a batch is sent again, and when it is given up."""

import pytest

from meterlog.client import RetryPolicy

POLICY = RetryPolicy(give_up_after_s=60.0, first_delay_s=0.1, delay_max_s=2.0)


@pytest.mark.parametrize("status", ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED"])
def test_a_failure_that_may_pass_is_tried_again(status):
    assert POLICY.delay_s(status, tries=1, elapsed_s=0.0, fraction=0.0) is not None


@pytest.mark.parametrize(
    "status", ["INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED", "INTERNAL", "DATA_LOSS"]
)
def test_a_failure_that_a_repeat_cannot_mend_is_given_up(status):
    assert POLICY.delay_s(status, tries=1, elapsed_s=0.0, fraction=0.0) is None


def test_the_delay_doubles_up_to_its_bound():
    delays = [POLICY.delay_s("UNAVAILABLE", tries, 0.0, fraction=1.0) for tries in range(1, 8)]
    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])


def test_jitter_takes_away_up_to_half():
    assert POLICY.delay_s("UNAVAILABLE", 1, 0.0, fraction=0.0) == pytest.approx(0.05)
    assert POLICY.delay_s("UNAVAILABLE", 1, 0.0, fraction=0.5) == pytest.approx(0.075)


def test_the_last_delay_ends_with_the_total_time():
    assert POLICY.delay_s("UNAVAILABLE", 20, elapsed_s=59.5, fraction=1.0) == pytest.approx(0.5)
    assert POLICY.delay_s("UNAVAILABLE", 20, elapsed_s=60.0, fraction=1.0) is None


def test_thousands_of_tries_do_not_overflow_the_delay():
    assert POLICY.delay_s("UNAVAILABLE", 100_000, elapsed_s=1.0, fraction=1.0) == pytest.approx(2.0)
