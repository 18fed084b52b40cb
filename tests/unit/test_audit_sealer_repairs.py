"""What a killed sealer left out is added, and one that does not know the older key says how to name it."""

from pathlib import Path

import pytest

from services.eventstore.audit.sealed_folder import SealedFolder
from services.eventstore.audit.sealer import Sealer
from services.kernel.errors import Corrupt
from tests.audit_room import KEYS, OTHER_KEY, fill, memory_log, sealed


def test_a_copy_that_a_killed_sealer_left_out_is_written_and_no_other(tmp_path: Path) -> None:
    store = memory_log(10)
    copy = tmp_path / "checkpoints/10"
    sealed(store, tmp_path)
    copy.unlink()
    sealed(store, tmp_path)
    assert copy.read_bytes() == (tmp_path / "checkpoint").read_bytes()
    copy.unlink()
    fill(store, 5, first=11)
    sealed(store, tmp_path)
    assert SealedFolder(tmp_path).sizes() == [10, 15]
    (tmp_path / "checkpoints/15").write_text("another")
    sealed(store, tmp_path)
    assert (tmp_path / "checkpoints/15").read_text() == "another"


def test_after_a_change_of_the_key_the_option_for_the_older_one_is_named(tmp_path: Path) -> None:
    store = memory_log(10)
    sealed(store, tmp_path)
    with pytest.raises(Corrupt, match="--older-key") as refused:
        sealed(store, tmp_path, OTHER_KEY)
    assert (refused.value.reason, refused.value.metadata["file"]) == ("NOTE_NOT_TRUSTED", "checkpoint")
    assert Sealer(store, tmp_path, OTHER_KEY, KEYS).seal() is not None
