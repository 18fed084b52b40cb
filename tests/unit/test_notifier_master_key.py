"""The master key: given, or made once and kept for the owner's eyes."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from structlog.testing import CapturingLogger

from services.kernel.errors import InvalidInput, Unavailable
from services.notifier.master_key import MASTER_KEY_FILE, load_master_key


@pytest.fixture
def lines() -> Iterator[CapturingLogger]:
    """Everything that is logged."""
    before = structlog.get_config()
    captured = CapturingLogger()
    structlog.configure(logger_factory=lambda *_: captured, cache_logger_on_first_use=False)
    yield captured
    structlog.configure(**before)


def test_the_first_start_makes_a_key_and_later_ones_read_it(tmp_path: Path, lines: CapturingLogger) -> None:
    key = load_master_key("", tmp_path)
    assert len(key) == 32
    assert load_master_key("", tmp_path) == key
    assert [path.name for path in tmp_path.iterdir()] == [MASTER_KEY_FILE]
    assert (tmp_path / MASTER_KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert base64.b64encode(key).decode() not in str(lines.calls)


def test_every_installation_has_a_key_of_its_own(tmp_path: Path) -> None:
    keys = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        keys.add(load_master_key("", tmp_path / name))
    assert len(keys) == 2


def test_a_configured_key_wins_and_leaves_no_file(tmp_path: Path) -> None:
    assert load_master_key(base64.b64encode(b"k" * 40).decode(), tmp_path) == b"k" * 40
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["a secret that is no base64!", base64.b64encode(b"k" * 31).decode(), "ключ"])
def test_a_bad_key_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInput, match="METERLOG_WEBHOOK_MASTER_KEY") as refused:
        load_master_key(text, tmp_path)
    assert text not in refused.value.message


@pytest.mark.parametrize("content", [b"half a ke", b"\xff\xfe", b""])
def test_a_broken_file_is_never_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MASTER_KEY_FILE).write_bytes(content)
    with pytest.raises(InvalidInput, match=MASTER_KEY_FILE):
        load_master_key("", tmp_path)
    assert (tmp_path / MASTER_KEY_FILE).read_bytes() == content


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(Unavailable, match="cannot be used"):
        load_master_key("", tmp_path / "file")


def test_a_key_that_others_can_read_is_used_with_a_warning(tmp_path: Path, lines: CapturingLogger) -> None:
    key = load_master_key("", tmp_path)
    (tmp_path / MASTER_KEY_FILE).chmod(0o644)
    assert load_master_key("", tmp_path) == key
    assert "can be read by others" in str(lines.calls)
