"""Troubles of a network, made with a faulty proxy."""

import random
import threading
from collections.abc import Mapping

from tests.crash.arena import Trouble
from tests.crash.proxy import FAIR, FaultyProxy, stormy

STORM_S_MAX = 2.0


def network_troubles(proxy: FaultyProxy) -> Mapping[str, Trouble]:
    """Connections broken, and bad weather for a while; what hung then goes on, or is broken."""

    def break_connections(chance: random.Random, _stop: threading.Event) -> list[str]:
        proxy.drop_some(chance)
        return ["connections broken"]

    def spoil(chance: random.Random, stop: threading.Event) -> list[str]:
        name, weather = stormy(chance)
        proxy.set_weather(weather)
        stop.wait(chance.uniform(0.05, STORM_S_MAX))
        proxy.set_weather(FAIR)
        if chance.random() < 0.5:
            proxy.drop_all()
        return [name]

    return {"connections broken": break_connections, "bad weather": spoil, "bad weather again": spoil}
