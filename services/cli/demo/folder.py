"""The demonstration's own folder: emptied before each run, and only if a demonstration made it."""

import shutil
from pathlib import Path
from typing import Final

from services.cli.failure import misused
from services.cli.processes.var_lock import LOCK_FILE, VarLock

MARKER: Final = ".meterlog-demo"


def take_fresh_folder(var: Path, trace: Path | None) -> VarLock:
    """Lock the folder and empty it; raises CommandFailed when it holds what no demonstration wrote, or the trace."""
    _require_ours(var)
    if trace is not None and trace.resolve().is_relative_to(var.resolve()):
        raise misused(f"{trace} lies in {var}, which the demonstration empties first; move it, or choose another --var")
    lock = VarLock.take(var)
    for entry in var.iterdir():
        if entry.name != LOCK_FILE:
            _remove(entry)
    (var / MARKER).touch()
    return lock


def _require_ours(var: Path) -> None:
    if not var.exists():
        return
    if not var.is_dir():
        raise misused(f"{var} is no folder; choose another with --var")
    names = {entry.name for entry in var.iterdir()} - {LOCK_FILE}
    if names and MARKER not in names:
        raise misused(f"{var} holds files that no demonstration wrote; choose another folder with --var")


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()
