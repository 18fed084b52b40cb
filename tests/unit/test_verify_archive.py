"""The outsider's verifier, which knows of Meterlog but the format, comes to the same verdict as the platform."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.verify_archive import NotVerified, Verifier, verdict
from services.eventstore.archive.check import check_archive
from services.eventstore.archive.exporting import Span
from services.eventstore.audit.chain import merkle_root
from services.eventstore.audit.note import SignerKey
from services.eventstore.event import Position
from services.eventstore.memory import MemoryEventStore
from services.kernel.clock import SimulatedClock
from tests.archives import (
    EVENT_COUNT,
    SIGNER,
    START,
    STRANGER,
    all_events,
    archive_of,
    filled,
    leaves,
    lines,
    plain,
    relinked,
    said,
    sealed_by,
)

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/verify_archive.py"
LOG = filled()
PLAIN = plain(LOG)
KEY = str(SIGNER.verifier)
ARCHIVES = {
    "whole": archive_of(LOG, seal_at=sealed_by(SIGNER, LOG)),
    "without commits": archive_of(PLAIN, seal_at=sealed_by(SIGNER, PLAIN)),
    "middle": archive_of(LOG, Span(Position(2), Position(8)), sealed_by(SIGNER, LOG)),
    "middle without commits": archive_of(
        PLAIN, Span(all_events(PLAIN)[4].position, all_events(PLAIN)[10].position), sealed_by(SIGNER, PLAIN)
    ),
    "last event": archive_of(LOG, Span(Position(13)), sealed_by(SIGNER, LOG)),
    "nothing behind the head": archive_of(LOG, Span(LOG.head().position), sealed_by(SIGNER, LOG)),
}
SMALL = filled([1, 2])
SMALL_ARCHIVES = {
    "whole": archive_of(SMALL, seal_at=sealed_by(SIGNER, SMALL)),
    "without commits": archive_of(plain(SMALL), seal_at=sealed_by(SIGNER, SMALL)),
    "part": archive_of(filled([1, 2, 1]), Span(Position(1), Position(3)), sealed_by(SIGNER, filled([1, 2, 1]))),
}

each_archive = pytest.mark.parametrize("archive", ARCHIVES.values(), ids=ARCHIVES)
each_small = pytest.mark.parametrize("archive", SMALL_ARCHIVES.values(), ids=SMALL_ARCHIVES)


def run(*arguments: str, stdin: bytes = b"") -> tuple[int, str]:
    """The script as an outsider runs it: without the project on its path."""
    command = [sys.executable, "-I", str(SCRIPT), *arguments]
    ran = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)
    assert ran.stderr == b""
    return ran.returncode, ran.stdout.decode()


def is_verified(content: list[bytes], key: str = KEY) -> bool:
    try:
        verdict(Verifier(key), content)
    except NotVerified:
        return False
    return True


def test_it_imports_the_standard_library_and_cryptography_only() -> None:
    nodes = list(ast.walk(ast.parse(SCRIPT.read_text())))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    assert {name.split(".")[0] for name in imported} - sys.stdlib_module_names == {"cryptography"}


def test_it_says_what_it_proved(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(ARCHIVES["whole"])
    (tmp_path / "key").write_text(KEY + "\n")
    root = merkle_root(leaves(LOG)).hex()
    words = f"verified: {EVENT_COUNT} events of {EVENT_COUNT}, root {root}, signed by {SIGNER.name}\n"
    assert run(str(tmp_path / "archive"), "--public-key", KEY) == (0, words)
    assert run(str(tmp_path / "archive"), "--public-key", str(tmp_path / "key")) == (0, words)
    assert run("-", "--public-key", KEY, stdin=ARCHIVES["whole"]) == (0, words)


def test_it_says_at_which_line_and_behind_which_position_an_archive_breaks() -> None:
    content = lines(ARCHIVES["whole"])
    content[5] = content[5].replace(b'"payload":"', b'"payload":"AAAA')
    code, words = run("-", stdin=b"".join(content))
    assert code == 1
    assert words.startswith("NOT verified: line 6, behind position 3: a byte of it was changed")


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b"[]\n", b'{"kind":[]}\n', b"\xff\n", b"[" * 100_000 + b"\n"])
def test_what_is_no_archive_is_no_riddle_to_it(content: bytes) -> None:
    code, words = run("-", stdin=content)
    assert (code, words[:13]) == (1, "NOT verified:")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, words = run(str(tmp_path / "missing"))
    assert code == 1
    assert "missing" in words


@each_archive
def test_it_verifies_what_the_platform_wrote(archive: bytes) -> None:
    assert is_verified(lines(archive))
    assert is_verified(lines(archive), key="")


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80])
@each_small
def test_whichever_byte_is_flipped_it_says_no(archive: bytes, mask: int) -> None:
    """Exhaustive: every byte of the file."""
    survived = []
    for place in range(len(archive)):
        changed = bytearray(archive)
        changed[place] ^= mask
        if is_verified(lines(bytes(changed))):
            survived.append(place)
    assert survived == []


@each_small
def test_wherever_an_archive_is_cut_short_it_says_no(archive: bytes) -> None:
    assert [end for end in range(len(archive)) if is_verified(lines(archive[:end]))] == []


@each_small
def test_forged_links_hide_nothing_from_it(archive: bytes) -> None:
    told = said(archive)
    for number in range(len(told)):
        assert not is_verified(list(relinked(told[:number] + told[number + 1 :])))
        assert not is_verified(list(relinked(told[: number + 1] + told[number:])))


@pytest.mark.parametrize(
    "key",
    [str(STRANGER.verifier), KEY.replace("example", "sample"), KEY[:-8] + "AAAAAAA=", "key", "", "a+b+c", f"{KEY}\n+"],
)
def test_another_key_or_none_proves_no_signature(key: str) -> None:
    content = lines(ARCHIVES["whole"])
    assert is_verified(content, key) is (key == "")


def test_without_a_checkpoint_no_key_proves_anything() -> None:
    content = lines(archive_of(LOG))
    assert is_verified(content, key="")
    assert not is_verified(content)


def test_a_checkpoint_of_another_log_proves_nothing() -> None:
    *told, _, end = said(ARCHIVES["whole"])
    other = filled(first_id=700)
    (*_, foreign, _) = said(archive_of(other, seal_at=sealed_by(SIGNER, other)))
    assert not is_verified(list(relinked([*told, foreign, end])))


def test_an_empty_log_verifies() -> None:
    archive = archive_of(MemoryEventStore(SimulatedClock(START)))
    assert is_verified(lines(archive), key="")
    assert check_archive(lines(archive)).verified


def test_of_several_keys_one_must_have_signed(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(ARCHIVES["whole"])
    for keys in ((STRANGER, SIGNER), (SIGNER, STRANGER)):
        (tmp_path / "keys").write_text("".join(f"{key.verifier}\n" for key in keys))
        code, words = run(str(tmp_path / "archive"), "--public-key", str(tmp_path / "keys"))
        assert (code, words.endswith(f"signed by {SIGNER.name}\n")) == (0, True)
    renamed = SignerKey("example.com/other", SIGNER.seed)
    assert not is_verified(lines(ARCHIVES["whole"]), f"{STRANGER.verifier} {renamed.verifier}")


@pytest.mark.parametrize("key", ["seal.key.pub", KEY[:-8] + "AAAAAAA=", f"{KEY} {KEY[:-4]}", "", " \n"])
def test_a_key_that_is_none_does_not_look_like_a_bad_archive(key: str) -> None:
    command = [sys.executable, "-I", str(SCRIPT), "-", "--public-key", key]
    ran = subprocess.run(command, input=b"no archive", capture_output=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert b"error: --public-key: " in ran.stderr
