"""Starting a PostgreSQL of one's own: patient with a machine that is busy, quick with a start that is refused."""

from subprocess import CalledProcessError, TimeoutExpired

import pytest

from services.cli.processes import private_postgres

LATE = TimeoutExpired("pg_ctl", 10)
REFUSED = CalledProcessError(1, "pg_ctl")
NOT_READY = AssertionError("status")


class ScriptedServer:
    """A start that ends as was laid down, one end after the other."""

    def __init__(self, *ends: Exception | None) -> None:
        self._ends = list(ends)
        self.starts = 0

    def start(self) -> None:
        self.starts += 1
        end = self._ends.pop(0)
        if end is not None:
            raise end


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_postgres, "_PAUSE_S", 0.0)


def test_a_start_that_takes_long_is_waited_for_until_the_server_is_ready() -> None:
    server = ScriptedServer(LATE, NOT_READY, REFUSED, NOT_READY, None)
    private_postgres._start(server)
    assert server.starts == 5


@pytest.mark.parametrize("end", [REFUSED, NOT_READY])
def test_a_start_that_is_refused_is_not_repeated(end: Exception) -> None:
    server = ScriptedServer(end)
    with pytest.raises(type(end)):
        private_postgres._start(server)
    assert server.starts == 1


def test_a_server_that_never_gets_ready_is_given_up() -> None:
    server = ScriptedServer(*[LATE] * private_postgres._LOOKS_MAX)
    with pytest.raises(TimeoutExpired):
        private_postgres._start(server)
    assert server.starts == private_postgres._LOOKS_MAX
