"""A webhook arrives, signed, at least once, at a real receiver; and what goes wrong there stays there."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.notifier.endpoint import EndpointMode
from services.notifier.keyring import Keyring
from tests.webhook_bench import Bench, eventually
from tests.webhook_receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def notifier(tmp_path: Path, receiver: Receiver) -> Iterator[Callable[..., Bench]]:
    """Makes a bench that is stopped before the receiver is."""
    made: list[Bench] = []

    def make(**arguments: Any) -> Bench:
        made.append(Bench(tmp_path, **arguments))
        return made[-1].start()

    yield make
    receiver.release()
    for bench in made:
        bench.close()


def test_an_invoice_arrives_and_the_receivers_package_verifies_it(
    notifier: Callable[..., Bench], receiver: Receiver
) -> None:
    bench = notifier()
    secret = bench.create_endpoint("books", receiver.url(), ("invoice.finalized",))
    bench.finalize(1)
    eventually(lambda: bench.states() == ["delivered"])
    (arrival,) = receiver.arrivals
    document = arrival.verified(secret)
    assert document["type"] == "invoice.finalized"
    assert document["id"] == arrival.message_id
    assert arrival.headers["content-type"] == "application/json"
    assert "cookie" not in arrival.headers


def test_a_failure_is_tried_again_when_its_time_has_come(notifier: Callable[..., Bench], receiver: Receiver) -> None:
    bench = notifier()
    secret = bench.create_endpoint("books", receiver.url())
    receiver.then("/hooks", 500)
    bench.finalize(1)
    eventually(lambda: bench.errors() == ["status"])
    bench.clock.advance(bench.clock.now() + timedelta(seconds=3))
    assert bench.states() == ["pending"]
    bench.clock.advance(bench.clock.now() + timedelta(seconds=4))
    eventually(lambda: bench.states() == ["delivered"])
    first, second = receiver.arrivals
    assert first.message_id == second.message_id
    assert first.body == second.body
    assert second.verified(secret)
    assert [attempt.status for attempt in bench.deliveries()[0].attempts] == [500, 204]


def test_after_the_last_attempt_the_delivery_is_exhausted(notifier: Callable[..., Bench], receiver: Receiver) -> None:
    bench = notifier()
    bench.create_endpoint("books", receiver.url())
    receiver.always("/hooks", 500)
    bench.finalize(1)
    for made in range(1, 11):
        eventually(lambda expected=made: len(bench.errors()) == expected)
        bench.clock.advance(bench.clock.now() + timedelta(hours=30))
    assert bench.states() == ["exhausted"]
    assert len(receiver.arrivals) == 10


def test_a_receiver_that_hangs_delays_no_other(notifier: Callable[..., Bench], receiver: Receiver) -> None:
    bench = notifier(timeout_s=30, slots=8)
    for key in ("dead-0", "dead-1", "dead-2"):
        bench.create_endpoint(key, receiver.url(f"/{key}"))
        receiver.hang(f"/{key}")
    bench.create_endpoint("alive", receiver.url("/alive"))
    for number in range(20):
        bench.finalize(number)
    eventually(lambda: bench.states("alive") == ["delivered"] * 20)
    assert [len(receiver.arrived(f"/dead-{dead}")) for dead in range(3)] == [1, 1, 1]


def test_however_many_receivers_hang_one_that_answers_is_not_delayed(
    notifier: Callable[..., Bench], receiver: Receiver
) -> None:
    bench = notifier(timeout_s=30, slots=8)
    bench.create_endpoint("alive", receiver.url("/alive"))
    bench.finalize(1)
    eventually(lambda: bench.states("alive") == ["delivered"])
    for dead in range(12):
        bench.create_endpoint(f"dead-{dead}", receiver.url(f"/dead/{dead}"))
        receiver.hang(f"/dead/{dead}")
    for number in range(2, 12):
        bench.finalize(number)
    eventually(lambda: bench.states("alive") == ["delivered"] * 11)
    assert len([arrival for arrival in receiver.arrivals if arrival.path != "/alive"]) == 4


def test_gone_disables_the_endpoint_and_cancels_what_is_due(notifier: Callable[..., Bench], receiver: Receiver) -> None:
    bench = notifier()
    bench.create_endpoint("books", receiver.url())
    receiver.then("/hooks", 500, 410)
    bench.finalize(1)
    eventually(lambda: bench.errors() == ["status"])
    bench.finalize(2)
    eventually(lambda: bench.states() == ["cancelled", "cancelled"])
    bench.clock.advance(bench.clock.now() + timedelta(days=1))
    bench.finalize(3)
    bench.catch_up()
    assert len(bench.messages()) == 2
    assert len(receiver.arrivals) == 2


def test_deleting_an_endpoint_cancels_what_is_due(notifier: Callable[..., Bench], receiver: Receiver) -> None:
    bench = notifier()
    bench.create_endpoint("books", receiver.url())
    receiver.always("/hooks", 500)
    bench.finalize(1)
    eventually(lambda: bench.errors() == ["status"])
    bench.delete_endpoint("books")
    eventually(lambda: bench.states() == ["cancelled"])
    bench.clock.advance(bench.clock.now() + timedelta(days=1))
    bench.create_endpoint("others", receiver.url("/others"))
    bench.finalize(2)
    eventually(lambda: bench.states("others") == ["delivered"])
    assert len(receiver.arrived("/hooks")) == 1


def test_a_redirect_is_a_failure_and_not_followed(notifier: Callable[..., Bench], receiver: Receiver) -> None:
    bench = notifier()
    bench.create_endpoint("books", receiver.url())
    receiver.always("/hooks", 307, {"location": receiver.url("/elsewhere")})
    bench.finalize(1)
    eventually(lambda: bench.errors() == ["redirect"])
    assert receiver.arrived("/elsewhere") == []


def test_a_receiver_that_does_not_answer_in_time_is_spared_for_a_minute(
    notifier: Callable[..., Bench], receiver: Receiver
) -> None:
    bench = notifier(timeout_s=1)
    bench.create_endpoint("books", receiver.url())
    receiver.hang("/hooks")
    bench.finalize(1)
    eventually(lambda: bench.errors() == ["timeout"])
    (delivery,) = bench.deliveries()
    assert delivery.next_attempt_at is not None
    assert delivery.next_attempt_at - bench.clock.now() >= timedelta(seconds=60)


def test_a_dry_run_signs_and_counts_and_never_connects(notifier: Callable[..., Bench], receiver: Receiver) -> None:
    bench = notifier()
    bench.create_endpoint("rehearsal", receiver.url("/rehearsal"), mode=EndpointMode.DRY_RUN)
    bench.create_endpoint("books", receiver.url("/books"))
    bench.finalize(1)
    eventually(lambda: bench.states("books") == ["delivered"])
    eventually(lambda: bench.states("rehearsal") == ["dry_run"])
    assert [arrival.path for arrival in receiver.arrivals] == ["/books"]


def test_the_switch_makes_every_endpoint_a_dry_run(notifier: Callable[..., Bench], receiver: Receiver) -> None:
    bench = notifier(is_dry_run=True)
    bench.create_endpoint("books", receiver.url())
    bench.finalize(1)
    eventually(lambda: bench.states() == ["dry_run"])
    assert receiver.arrivals == []


def test_only_the_begin_of_an_answer_is_kept(notifier: Callable[..., Bench], receiver: Receiver) -> None:
    bench = notifier()
    bench.create_endpoint("books", receiver.url())
    receiver.always("/hooks", 200, body=b"x" * 1_000_000)
    bench.finalize(1)
    eventually(lambda: bench.states() == ["delivered"])
    assert bench.deliveries()[0].attempts[0].response_excerpt == b"x" * 1_024


def test_an_endpoint_of_another_master_key_is_left_alone_and_others_go_on(
    notifier: Callable[..., Bench], receiver: Receiver
) -> None:
    bench = notifier()
    bench.create_endpoint("books", receiver.url("/books"))
    bench.stop()
    bench.keyring = Keyring(b"another key, of 32 bytes or more")
    bench.start()
    bench.create_endpoint("later", receiver.url("/later"))
    bench.finalize(1)
    eventually(lambda: bench.states("later") == ["delivered"])
    assert bench.states("books") == ["pending"]
    assert receiver.arrived("/books") == []


def test_an_attempt_that_crashes_harms_no_other(notifier: Callable[..., Bench], receiver: Receiver) -> None:
    bench = notifier()
    bench.create_endpoint("nonsense", "http://127.0.0.1:99999999/of/an/older/release")
    bench.create_endpoint("books", receiver.url())
    bench.finalize(1)
    eventually(lambda: bench.states("books") == ["delivered"])
    eventually(lambda: bench.errors("nonsense") == ["unforeseen"])
    assert bench.states("nonsense") == ["pending"]
    assert bench.dispatcher.is_ready()
