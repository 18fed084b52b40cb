"""What follows from an answer: the table of Standard Webhooks, with the schedule's waiting times."""

from datetime import UTC, datetime, timedelta

import pytest

from services.notifier.delivery import Answer, DeliveryState, Failure
from services.notifier.policy import ATTEMPTS_MAX, SCHEDULE, verdict
from services.notifier.retry_after import retry_after_s

NOW = datetime(2024, 2, 1, 12, tzinfo=UTC)
KEY = ("msg_a", "books")
DAY_S = 86_400


def waiting_s(answer: Answer, attempt: int = 1, key: tuple[str, str] = KEY) -> float:
    """Seconds until the next attempt."""
    next_attempt_at = verdict(answer, key, attempt, NOW).next_attempt_at
    assert next_attempt_at is not None
    return (next_attempt_at - NOW).total_seconds()


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    found = verdict(Answer(status), KEY, 1, NOW)
    assert (found.state, found.failure, found.next_attempt_at) == (DeliveryState.DELIVERED, None, None)


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (Answer(300), Failure.REDIRECT),
        (Answer(307), Failure.REDIRECT),
        (Answer(400), Failure.STATUS),
        (Answer(404), Failure.STATUS),
        (Answer(500), Failure.STATUS),
        (Answer(503), Failure.STATUS),
        (Answer(199), Failure.STATUS),
        (Answer(failure=Failure.TIMEOUT), Failure.TIMEOUT),
        (Answer(failure=Failure.DNS), Failure.DNS),
        (Answer(failure=Failure.TLS), Failure.TLS),
        (Answer(failure=Failure.CONNECTION), Failure.CONNECTION),
        (Answer(failure=Failure.PROTOCOL), Failure.PROTOCOL),
        (Answer(failure=Failure.UNFORESEEN), Failure.UNFORESEEN),
    ],
)
def test_every_other_answer_is_tried_again(answer: Answer, failure: Failure) -> None:
    found = verdict(answer, KEY, 1, NOW)
    assert (found.state, found.failure, found.is_gone) == (DeliveryState.PENDING, failure, False)
    assert found.next_attempt_at is not None


@pytest.mark.parametrize("failure", [Failure.BLOCKED_ADDRESS, Failure.BLOCKED_SCHEME, Failure.INVALID_URL])
def test_what_cannot_mend_is_given_up_at_once(failure: Failure) -> None:
    found = verdict(Answer(failure=failure), KEY, 1, NOW)
    assert (found.state, found.failure, found.next_attempt_at) == (DeliveryState.EXHAUSTED, failure, None)


def test_gone_cancels_and_says_so() -> None:
    found = verdict(Answer(410), KEY, 1, NOW)
    assert (found.state, found.is_gone, found.next_attempt_at) == (DeliveryState.CANCELLED, True, None)


def test_the_last_failure_exhausts_and_the_last_success_delivers() -> None:
    assert verdict(Answer(500), KEY, ATTEMPTS_MAX - 1, NOW).state is DeliveryState.PENDING
    assert verdict(Answer(500), KEY, ATTEMPTS_MAX, NOW).state is DeliveryState.EXHAUSTED
    assert verdict(Answer(200), KEY, ATTEMPTS_MAX, NOW).state is DeliveryState.DELIVERED
    assert verdict(Answer(410), KEY, ATTEMPTS_MAX, NOW).state is DeliveryState.CANCELLED


@pytest.mark.parametrize("attempt", range(1, ATTEMPTS_MAX))
def test_waiting_follows_the_schedule_give_or_take_a_fifth(attempt: int) -> None:
    planned = SCHEDULE[attempt].total_seconds()
    waited = {waiting_s(Answer(500), attempt, (f"msg_{number}", "books")) for number in range(300)}
    assert planned * 0.8 <= min(waited) < planned * 0.82
    assert planned * 1.18 < max(waited) <= planned * 1.2


def test_all_attempts_span_three_days() -> None:
    assert ATTEMPTS_MAX == 10
    assert sum(SCHEDULE, timedelta()) == timedelta(hours=75, minutes=35, seconds=5)


def test_the_same_attempt_waits_the_same_in_every_process() -> None:
    assert waiting_s(Answer(500)) == waiting_s(Answer(500)) == 4.395
    assert len({waiting_s(Answer(500), 1, ("msg_a", f"endpoint-{number}")) for number in range(50)}) > 25


@pytest.mark.parametrize(
    "answer", [Answer(429), Answer(502), Answer(503), Answer(504), Answer(failure=Failure.TIMEOUT)]
)
def test_a_receiver_under_load_is_spared_for_a_minute(answer: Answer) -> None:
    assert waiting_s(answer) == 60
    assert waiting_s(answer, attempt=2) > 60


@pytest.mark.parametrize(
    ("answer", "at_least_s", "at_most_s"),
    [
        (Answer(503, retry_after_s=120), 120, 120),
        (Answer(500, retry_after_s=90), 90, 90),
        (Answer(429, retry_after_s=1), 60, 60),
        (Answer(500, retry_after_s=0), 4, 6),
        (Answer(503, retry_after_s=10 * DAY_S), DAY_S, DAY_S),
    ],
)
def test_the_receiver_is_not_bothered_before_it_asks_for_more(answer: Answer, at_least_s: int, at_most_s: int) -> None:
    assert at_least_s <= waiting_s(answer) <= at_most_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("Thu, 01 Feb 2024 12:02:00 GMT", 120),
        ("Thu, 01 Feb 2024 14:02:00 +0200", 120),
        ("Thu, 01 Feb 2024 12:02:00", 120),
        ("Thu, 01 Feb 2024 11:00:00 GMT", 0),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("１２", None),
        ("9" * 400, None),
        ("Thu, 01 Feb 99999 12:02:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: int | None) -> None:
    assert retry_after_s(text, NOW) == seconds
