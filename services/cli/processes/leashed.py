"""`python -m services.cli.processes.leashed <service>`: runs a service that ends when the one who started it ends.

Standard input is a pipe whose other end only the supervisor holds, so its end is the supervisor's end, whatever ended
it. That needs no code between fork and exec, which a process with gRPC threads could not run safely, and no Linux.
"""

import os
import runpy
import signal
import sys
import threading
from typing import Final

DRAIN_TIMEOUT_S: Final = 15.0


def main() -> None:
    """Run `services.<service>` as if it had been started by itself."""
    service = sys.argv[1]
    threading.Thread(target=_end_with_supervisor, name="leash", daemon=True).start()
    sys.argv = [service]
    runpy.run_module(f"services.{service}", run_name="__main__", alter_sys=True)


def _end_with_supervisor() -> None:
    while os.read(0, 1):
        pass
    _silence()
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(DRAIN_TIMEOUT_S)
    os._exit(1)


def _silence() -> None:
    """Nobody reads the log any more; a line into a broken pipe must not disturb the drain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)


if __name__ == "__main__":
    main()
