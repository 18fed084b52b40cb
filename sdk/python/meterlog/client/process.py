"""Which process a client belongs to: the one that used it first."""

import os

from meterlog.client.errors import UsedAfterFork


class OwnProcess:
    """Notices a fork between two uses. Takes no lock, because a fork may have copied one that is held."""

    def __init__(self) -> None:
        self._process_id: int | None = None

    def claim(self) -> None:
        """Belong to this process from now on; raises UsedAfterFork when another one came first."""
        if self._process_id is None:
            self._process_id = os.getpid()
        elif self.is_another:
            raise UsedAfterFork(
                "this client was in use before the fork and sends in the parent process only; create one in the child"
            )

    @property
    def is_another(self) -> bool:
        """Whether the client belongs to another process."""
        return self._process_id is not None and self._process_id != os.getpid()
