"""A webhook goes to public addresses only, whatever name, literal or form leads elsewhere."""

from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from services.notifier.network import Network
from services.notifier.transport import Reach
from tests.webhook_bench import LOOPBACK, Bench, eventually
from tests.webhook_receiver import Receiver

EVERYTHING: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def notifier(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**arguments: Any) -> Bench:
        made.append(Bench(tmp_path, **arguments))
        return made[-1].start()

    yield make
    for bench in made:
        bench.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"])
def test_loopback_is_blocked_by_default(notifier: Callable[..., Bench], receiver: Receiver, host: str) -> None:
    bench = notifier(allowed=())
    bench.create_endpoint("inside", receiver.url(host=host))
    bench.finalize(1)
    eventually(lambda: bench.states() == ["exhausted"])
    assert bench.errors() == ["blocked_address"]
    assert bench.deliveries()[0].attempts[0].response_excerpt == b""
    assert receiver.arrivals == []


@pytest.mark.parametrize("host", ["169.254.169.254", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "0.0.0.0"])
def test_metadata_and_this_host_are_blocked_even_where_everything_is_allowed(
    notifier: Callable[..., Bench], receiver: Receiver, host: str
) -> None:
    bench = notifier(allowed=EVERYTHING)
    bench.create_endpoint("inside", receiver.url(host=host))
    bench.finalize(1)
    eventually(lambda: bench.states() == ["exhausted"])
    assert bench.errors() == ["blocked_address"]


def test_an_allowed_name_is_reached(notifier: Callable[..., Bench], receiver: Receiver) -> None:
    bench = notifier(allowed=LOOPBACK)
    bench.create_endpoint("inside", receiver.url(host="localhost"))
    bench.finalize(1)
    eventually(lambda: bench.states() == ["delivered"])


def test_a_connection_that_is_refused_is_tried_again_later(notifier: Callable[..., Bench]) -> None:
    bench = notifier()
    bench.create_endpoint("nobody", "http://127.0.0.1:1")
    bench.finalize(1)
    eventually(lambda: bench.errors() == ["connection"])
    assert bench.states() == ["pending"]


def test_what_is_no_tls_is_told_apart(notifier: Callable[..., Bench], receiver: Receiver) -> None:
    bench = notifier()
    bench.create_endpoint("books", receiver.url().replace("http:", "https:"))
    bench.finalize(1)
    eventually(lambda: bench.errors() == ["tls"])


def test_http_that_is_no_longer_allowed_is_not_used(notifier: Callable[..., Bench], receiver: Receiver) -> None:
    bench = notifier()
    bench.stop()
    bench.reach = Reach(timeout_s=10, connections_max=8, allowed=LOOPBACK, allows_http=False)
    bench.start()
    bench.create_endpoint("books", receiver.url())
    bench.finalize(1)
    eventually(lambda: bench.errors() == ["blocked_scheme"])
    assert receiver.arrivals == []
