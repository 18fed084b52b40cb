"""What the dedupe index's digests are keyed by stands in no log, and losing it costs a rebuild and nothing else."""

from pathlib import Path

import pytest

from services.ingest.dedupe_index import DedupeIndex
from services.ingest.digests import Digests
from services.ingest.index_folder import IndexFolder
from services.ingest.index_secret import NAME, SECRET_BYTES, index_secret
from services.kernel.errors import RuleViolated, Unavailable
from tests.dedupe_entries import fold_of, found
from tests.ingest_room import BOOT_ID, LIMITS, SECRET


def opened(folder: Path, log: bytes = SECRET) -> tuple[int, DedupeIndex]:
    """The live index as the service opens it."""
    digests = Digests(log, index_secret(folder))
    return IndexFolder(folder, digests, boot_id=BOOT_ID, limits=LIMITS).open_live()


def test_a_secret_is_drawn_once_for_each_replica_and_read_by_nobody_else(tmp_path: Path) -> None:
    first = index_secret(tmp_path / "a")
    assert len(first) == SECRET_BYTES
    assert index_secret(tmp_path / "a") == first
    assert index_secret(tmp_path / "b") != first
    assert (tmp_path / "a" / NAME).stat().st_mode & 0o077 == 0


def test_an_index_is_used_again_with_its_secret(tmp_path: Path) -> None:
    generation, index = opened(tmp_path)
    index.fold(0, fold_of(0, [1]))
    index.close()

    again, index = opened(tmp_path)

    assert (again, index.version(0), list(found(index, [1]))) == (generation, 0, [1])
    index.close()


@pytest.mark.parametrize("content", [None, b"", b"cut short"])
def test_an_index_whose_secret_is_lost_is_built_anew(tmp_path: Path, content: bytes | None) -> None:
    generation, index = opened(tmp_path)
    index.fold(0, fold_of(0, [1]))
    index.close()
    before = index_secret(tmp_path)
    if content is None:
        (tmp_path / NAME).unlink()
    else:
        (tmp_path / NAME).write_bytes(content)

    again, index = opened(tmp_path)

    assert index_secret(tmp_path) != before
    assert (again, index.version(0), found(index, [1])) == (generation + 1, -1, {})
    index.close()


def test_an_index_of_another_log_is_refused_whatever_its_secret(tmp_path: Path) -> None:
    _, index = opened(tmp_path)
    index.close()
    for _ in range(2):
        with pytest.raises(RuleViolated, match="of another log"):
            opened(tmp_path, b"another log")
        (tmp_path / NAME).unlink()


def test_a_process_that_was_killed_while_it_drew_a_secret_draws_another(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.new").write_bytes(b"half")
    assert index_secret(tmp_path) == index_secret(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="file/usage_dedupe/secret"):
        index_secret(tmp_path / "file" / "usage_dedupe")
