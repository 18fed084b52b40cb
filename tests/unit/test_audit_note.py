"""Signed notes, checkpoints and keys: whatever is changed about them, they are not believed any more."""

import stat
from base64 import b64encode
from pathlib import Path

import pytest

from services.eventstore.audit.checkpoint import opened_checkpoint, origin_of, sealed_checkpoint
from services.eventstore.audit.note import SignerKey, VerifierKey, opened_note, signed_note
from services.eventstore.audit.seal_key import create_seal_key, read_seal_key
from services.kernel.errors import AlreadyExists, Corrupt, InvalidInput, NotFound
from tests.audit_room import KEY, KEYS, OTHER_KEY

TEXT = "first line\n\nthird line, behind an empty one\n"
ROOT = bytes(range(100, 132))
ROOT_TEXT = b64encode(ROOT).decode()


def test_a_note_is_opened_with_the_key_that_signed_it() -> None:
    assert opened_note(signed_note(TEXT, KEY), KEYS) == TEXT


def test_a_note_has_the_form_of_the_standard() -> None:
    text, line = signed_note(TEXT, KEY).split("\n\n— ")[0] + "\n", signed_note(TEXT, KEY).rpartition("\n— ")[2]
    assert text == TEXT
    assert line == f"example.com/billing {b64encode(KEY.verifier.id + KEY.sign(TEXT)).decode()}\n"


def test_a_public_key_is_written_as_other_tools_write_it() -> None:
    """A pair of keys that the Go checksum database's tools publish as an example."""
    text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert str(VerifierKey.parse(text)) == text
    assert str(VerifierKey.parse(f" {text}\n")) == text


def test_keys_survive_being_written() -> None:
    assert VerifierKey.parse(str(KEY.verifier)) == KEY.verifier
    assert SignerKey.parse(KEY.secret_text()) == KEY


def test_a_signer_shows_its_secret_nowhere() -> None:
    shown = f"{KEY!r} {KEY}"
    assert "seed" not in shown
    for wrong in (KEY.secret_text().replace("billing", "selling"), KEY.secret_text()[:-4] + "AAA=", "x"):
        with pytest.raises(InvalidInput) as refused:
            SignerKey.parse(wrong)
        assert wrong[-20:] not in str(refused.value)


def test_a_private_key_given_as_a_public_one_is_not_repeated() -> None:
    with pytest.raises(InvalidInput) as refused:
        VerifierKey.parse(KEY.secret_text())
    assert KEY.secret_text()[-20:] not in refused.value.message


def test_every_changed_bit_of_a_note_is_found() -> None:
    note = sealed_checkpoint(origin_of(ROOT), 5, ROOT, KEY).note.encode()
    for place in range(len(note)):
        for bit in range(8):
            changed = note[:place] + bytes([note[place] ^ (1 << bit)]) + note[place + 1 :]
            with pytest.raises(Corrupt):
                opened_checkpoint(changed.decode(errors="replace"), KEYS)


def test_a_note_that_was_cut_is_found() -> None:
    note = signed_note(TEXT, KEY)
    for end in range(len(note)):
        with pytest.raises(Corrupt):
            opened_note(note[:end], KEYS)


def test_another_key_of_the_same_name_is_not_believed() -> None:
    with pytest.raises(Corrupt, match="with a key that is not"):
        opened_note(signed_note(TEXT, OTHER_KEY), KEYS)
    with pytest.raises(Corrupt):
        opened_note(signed_note(TEXT, KEY), ())


def test_a_note_may_carry_signatures_of_others() -> None:
    both = signed_note(TEXT, KEY) + signed_note(TEXT, OTHER_KEY).rpartition("\n\n")[2]
    assert opened_note(both, KEYS) == opened_note(both, (OTHER_KEY.verifier,)) == TEXT


def test_one_good_signature_does_not_excuse_a_bad_one() -> None:
    bad = signed_note("another text\n", OTHER_KEY).rpartition("\n\n")[2]
    with pytest.raises(Corrupt, match="not over this text"):
        opened_note(signed_note(TEXT, KEY) + bad, (KEY.verifier, OTHER_KEY.verifier))


def test_a_note_with_more_signatures_than_anybody_needs_is_refused() -> None:
    line = signed_note(TEXT, OTHER_KEY).rpartition("\n\n")[2]
    assert opened_note(signed_note(TEXT, KEY) + 15 * line, KEYS) == TEXT
    with pytest.raises(Corrupt, match="more than 16"):
        opened_note(signed_note(TEXT, KEY) + 16 * line, KEYS)


@pytest.mark.parametrize(
    "text",
    ["\n", "origin\n5\n", "origin\n05\nAAAA\n", f"origin\n-1\n{ROOT_TEXT}\n"]
    + [f"{origin}\n{size}\n{root}\n" for origin, size, root in [("", "5", ROOT_TEXT), ("o", "5", "AA==")]]
    + [f"o\n5\n{ROOT_TEXT}\n\n", f"o\n9223372036854775808\n{ROOT_TEXT}\n"]
    + [f"o\n{size}\n{ROOT_TEXT}\n" for size in ("5 ", "+5", "٥", "1" * 20)],
)
def test_a_signed_text_that_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(Corrupt):
        opened_checkpoint(signed_note(text, KEY), KEYS)


def test_further_lines_of_a_checkpoint_are_passed_over() -> None:
    text = f"origin\n5\n{ROOT_TEXT}\nan extension\n"
    assert opened_checkpoint(signed_note(text, KEY), KEYS).size == 5


def test_a_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(Corrupt):
        opened_note(signed_note(TEXT, KEY).replace("first", "\ud800"), KEYS)


def test_a_key_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "seal.key"
    public = create_seal_key(path, "example.com/billing")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_seal_key(path).verifier == public
    assert list(path.parent.iterdir()) == [path]
    path.chmod(0o644)
    with pytest.raises(InvalidInput, match="chmod 600"):
        read_seal_key(path)


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "seal.key"
    create_seal_key(path, "one")
    before = path.read_text()
    with pytest.raises(AlreadyExists):
        create_seal_key(path, "two")
    assert (path.read_text(), list(tmp_path.iterdir())) == (before, [path])


@pytest.mark.parametrize("name", ["", "with space", "a+b", "a\nb", "a b", "x" * 129])
def test_a_key_has_a_name_that_a_note_can_hold(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no name for a key"):
        create_seal_key(tmp_path / "seal.key", name)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff\xfe", KEY.secret_text().encode()[:-2]])
def test_a_file_that_holds_no_key_is_refused_without_being_shown(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "seal.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(InvalidInput, match=r"seal\.key"):
        read_seal_key(path)
    with pytest.raises(NotFound, match="keygen"):
        read_seal_key(tmp_path / "other.key")
