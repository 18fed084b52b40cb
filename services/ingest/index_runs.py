"""The runs of a dedupe index in its folder: newer ones are added behind older ones, neighbours are merged into one."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from services.ingest.index_entries import Entries, IndexBroken, IndexUnwritten
from services.ingest.index_limits import IndexLimits, due
from services.ingest.index_manifest import NAME, Checkpoint, Manifest, write_manifest
from services.ingest.index_merge import merged
from services.ingest.index_run import Run
from services.ingest.index_run_writer import RunWriter
from services.kernel.failpoint import fail_at

SUFFIX = ".run"


class Runs:
    """What the manifest names counts; any other file in the folder is a leftover.

    One thread may add while another one merges. Every method raises IndexBroken when a file fails.
    """

    def __init__(self, folder: Path, manifest: Manifest, limits: IndexLimits) -> None:
        """Takes the runs of `manifest` into use, after reading each of them whole; deletes leftovers."""
        self._folder = folder
        self._manifest = manifest
        self._limits = limits
        self._lock = threading.Lock()
        self._broken: IndexBroken | None = None
        self._runs = tuple(Run(folder / f"{number}{SUFFIX}") for number in manifest.runs)
        for run in self._runs:
            run.require_whole()
        self._next_number = max(manifest.runs, default=0) + 1
        self._drop_leftovers()

    def all(self) -> tuple[Run, ...]:
        """The runs, the oldest first."""
        if self._broken is not None:
            raise self._broken
        return self._runs

    def is_due(self) -> bool:
        """Whether some are to be merged."""
        return self._broken is None and due([len(run) for run in self._runs], self._limits) is not None

    def add(self, entries: Entries, checkpoints: Mapping[int, Checkpoint]) -> None:
        """Write entries, which are in key order, behind all others; the runs then stand at `checkpoints`."""
        if not len(entries):
            with self._lock:
                self._commit(self._runs, checkpoints)
            return
        writer = RunWriter(self._new_path(), len(entries))
        try:
            writer.add(entries)
            with self._dropped_on_error(writer.finish()) as run:
                fail_at("index.before_spill")
                with self._lock:
                    self._commit((*self._runs, run), checkpoints)
        finally:
            writer.drop_unfinished()

    def merge(self, is_stopping: Callable[[], bool]) -> None:
        """Merge those that are due, unless told to stop meanwhile; then they stay as they are.

        Raises IndexUnwritten when there is no room: nothing is lost, it can be tried again.
        """
        block = due([len(run) for run in self._runs], self._limits)
        if block is None:
            return
        try:
            self._merge(self._runs[block], is_stopping)
        except IndexUnwritten:
            raise
        except IndexBroken as error:
            self._broken = error
            raise

    def mark_in_use(self, boot_id: str) -> None:
        """Note that from now on something can be lost when the machine stops."""
        self._write_manifest(replace(self._manifest, boot_id=boot_id, is_closed=False))
        self._sync(NAME)

    def mark_closed(self) -> None:
        """Bring everything to the disk, and only then note that nothing can be lost. Nobody may be merging."""
        self._sync(*(run.path.name for run in self.all()))
        self._write_manifest(replace(self._manifest, is_closed=True))
        self._sync(NAME)

    def _merge(self, block: tuple[Run, ...], is_stopping: Callable[[], bool]) -> None:
        writer = RunWriter(self._new_path(), sum(map(len, block)))
        try:
            sources = [run.checked() for run in block]
            for part in merged(sources):
                if is_stopping():
                    return
                writer.add(part)
            for source in sources:
                source.require_as_written()
            with self._dropped_on_error(writer.finish()) as run:
                fail_at("index.before_merge")
                self._replace(block, run)
        finally:
            writer.drop_unfinished()
        fail_at("index.after_merge")

    def _replace(self, block: tuple[Run, ...], run: Run) -> None:
        with self._lock:
            start = self._runs.index(block[0])
            runs = (*self._runs[:start], run, *self._runs[start + len(block) :])
            self._commit(runs, self._manifest.checkpoints)
        for merged_run in block:
            merged_run.path.unlink(missing_ok=True)

    @contextmanager
    def _dropped_on_error(self, path: Path) -> Iterator[Run]:
        """A run that is written; its file is deleted when it does not come to be one of those that count."""
        try:
            yield Run(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _commit(self, runs: tuple[Run, ...], checkpoints: Mapping[int, Checkpoint]) -> None:
        numbers = tuple(int(run.path.stem) for run in runs)
        self._write_manifest(replace(self._manifest, runs=numbers, checkpoints=dict(checkpoints)))
        self._runs = runs

    def _write_manifest(self, manifest: Manifest) -> None:
        write_manifest(self._folder, manifest)
        self._manifest = manifest

    def _new_path(self) -> Path:
        with self._lock:
            number, self._next_number = self._next_number, self._next_number + 1
        return self._folder / f"{number}{SUFFIX}"

    def _drop_leftovers(self) -> None:
        """What a former life did not finish, or an index of another format left."""
        counted = {NAME, *(run.path.name for run in self._runs)}
        try:
            for path in self._folder.iterdir():
                if path.name not in counted and path.is_file():
                    path.unlink()
        except OSError as error:
            raise IndexBroken(f"{self._folder} cannot be tidied up ({error.strerror}); check METERLOG_VAR") from error

    def _sync(self, *names: str) -> None:
        """Bring files, and then the folder, to the disk."""
        try:
            for path in (*(self._folder / name for name in names), self._folder):
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        except OSError as error:
            raise IndexBroken(f"the dedupe index cannot be synced ({error.strerror}); check the disk") from error
