"""The console script: the command line, or one line that says how to install what it needs."""

import sys


def main() -> int:
    """Run `meterlog`; without the extra "server" there is only the SDK, and nothing to run."""
    try:
        from services.cli.__main__ import main as run
    except ModuleNotFoundError as missing:
        sys.stderr.write(
            f"meterlog: {missing.name} is not installed; install the extra: pip install 'meterlog[server]'\n"
        )
        return 2
    return run()
