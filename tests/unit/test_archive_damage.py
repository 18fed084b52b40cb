"""Whatever is done to an archive, its reader says at which line it is no longer what was written."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from services.eventstore.archive.check import check_archive
from services.eventstore.archive.exporting import Span
from services.eventstore.archive.lines import LINE_BYTES_MAX, ArchivedEvent, End, Header, Line, Seal
from services.eventstore.archive.reading import ArchiveDamaged, read_archive
from services.eventstore.audit.chain import Commit, merkle_root, next_chain, recorded_leaf
from services.eventstore.event import Position
from tests.archives import SIGNER, STRANGER, archive_of, filled, lines, plain, relinked, said, sealed_by

SMALL = filled([1, 2])
WHOLE = archive_of(SMALL, seal_at=sealed_by(SIGNER, SMALL))
PLAIN = archive_of(plain(SMALL))
PART = archive_of(filled([1, 2, 1]), Span(Position(1), Position(3)), sealed_by(SIGNER, filled([1, 2, 1])))
KINDS = {"whole": WHOLE, "without commits": PLAIN, "part": PART}
LOG = filled()


def damage_in(content: list[bytes], **options: object) -> ArchiveDamaged:
    with pytest.raises(ArchiveDamaged) as found:
        list(read_archive(content, **options))
    return found.value


def is_damaged(content: list[bytes], line: int) -> bool:
    try:
        list(read_archive(content))
    except ArchiveDamaged as error:
        return error.line == line
    return False


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80])
@pytest.mark.parametrize("archive", KINDS.values(), ids=KINDS)
def test_whichever_byte_is_flipped_its_line_is_named(archive: bytes, mask: int) -> None:
    """Exhaustive: every byte of the file, whichever line it stands in."""
    survived = []
    for index, line in enumerate(lines(archive)):
        content = lines(archive)
        for place in range(len(line)):
            changed = bytearray(line)
            changed[place] ^= mask
            content[index] = bytes(changed)
            if not is_damaged(lines(b"".join(content)), index + 1):
                survived.append((index + 1, place))
    assert survived == []


def test_a_flipped_byte_of_an_event_names_its_position() -> None:
    content = lines(archive_of(LOG))
    events = [number for number, line in enumerate(said(archive_of(LOG))) if isinstance(line, ArchivedEvent)]
    for position, number in enumerate(events, 1):
        changed = [*content[:number], content[number].replace(b'"version":', b'"version":1'), *content[number + 1 :]]
        assert damage_in(changed).position == position


@pytest.mark.parametrize("archive", KINDS.values(), ids=KINDS)
def test_wherever_an_archive_is_cut_short_it_is_noticed(archive: bytes) -> None:
    ends = [end for end in range(len(archive)) if not is_damaged(lines(archive[:end]), archive[:end].count(b"\n") + 1)]
    assert ends == []


@pytest.mark.parametrize("archive", KINDS.values(), ids=KINDS)
def test_no_line_may_be_missing_doubled_or_out_of_order(archive: bytes) -> None:
    content = lines(archive)
    for number in range(len(content)):
        assert is_damaged(content[:number] + content[number + 1 :], number + 1)
        assert is_damaged(content[: number + 1] + content[number:], number + 2)
        assert is_damaged(
            [*content[:number], *reversed(content[number : number + 2]), *content[number + 2 :]], number + 1
        ) or (number == len(content) - 1)


@pytest.mark.parametrize("archive", KINDS.values(), ids=KINDS)
def test_links_that_were_forged_do_not_hide_a_line_that_is_gone_doubled_or_moved(archive: bytes) -> None:
    told = said(archive)
    for number in range(len(told)):
        if not isinstance(told[number], Seal):
            damage_in(list(relinked(told[:number] + told[number + 1 :])))
        damage_in(list(relinked(told[: number + 1] + told[number:])))
    for number in range(len(told) - 1):
        damage_in(list(relinked([*told[:number], told[number + 1], told[number], *told[number + 2 :]])))


def test_an_archive_holds_nothing_behind_its_end() -> None:
    assert damage_in([*lines(WHOLE), b"\n"]).problem == "something stands behind the end"
    assert damage_in([*lines(WHOLE), *lines(WHOLE)]).line == len(lines(WHOLE)) + 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"{}\n",
        b"[]\n",
        b"null\n",
        b'{"kind":"header"}\n',
        b'{"kind":[]}\n',
        b"\xff\n",
        b"[" * 100_000 + b"\n",
    ],
)
def test_what_is_no_archive_is_refused_at_its_first_line(content: bytes) -> None:
    assert damage_in([content]).line == 1


def test_a_line_without_an_end_is_not_read_to_the_end() -> None:
    assert f"longer than {LINE_BYTES_MAX}" in damage_in([lines(WHOLE)[0], b"x" * LINE_BYTES_MAX]).problem


def test_an_archive_of_a_newer_format_says_so() -> None:
    newer = lines(WHOLE)[0].replace(b'"version":1', b'"version":2')
    assert "a newer release reads it" in damage_in([newer]).problem


@pytest.mark.parametrize(
    ("written", "otherwise"),
    [
        ('"version":0', '"version":0.0'),
        ('"version":0', '"version":-0'),
        ('"version":0', '"version": 0'),
        ('"version":0', '"version":false'),
        ('"version":0', '"version":99999999999999999999'),
        ('"ordinal":0', '"ordinal":"0"'),
        ('"kind":"event"', '"kind":"event","kind":"event"'),
        ('"Häppened"', '"H\\u00e4ppened"'),
        ('"Häppened"', '"\\ud800"'),
        ('"Häppened"', '"' + "x" * 200 + '"'),
        ('"usage-0"', '"usage"'),
        ('"usage-0"', '"usage-\\u0000"'),
        ('"AA=="', '"AB=="'),
        ('"AA=="', '"AA"'),
        ('"AA=="', '"AA==\\n"'),
        ('"schema_version":2', '"schema_version":0'),
        ('"recorded_at_us":1706745599999999', '"recorded_at_us":999999999999999999'),
        ("00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-00000000000g"),
        ("00000000-0000-0000-0000-000000000001", "{00000000-0000-0000-0000-000000000001}"),
    ],
)
def test_a_value_has_one_spelling_only(written: str, otherwise: str) -> None:
    header, event, *rest = lines(PLAIN)
    changed = event.replace(written.encode(), otherwise.encode(), 1)
    assert changed != event
    assert damage_in([header, changed, *rest]).line == 2


Forgery = Callable[[list[Line]], list[Line]]


def with_payload(told: list[Line]) -> list[Line]:
    """Another amount in the second event, and nothing else."""
    second = told[3]
    assert isinstance(second, ArchivedEvent)
    return [*told[:3], replace(second, event=replace(second.event, payload=b"1000000")), *told[4:]]


def with_leaf(told: list[Line]) -> list[Line]:
    """The leaf fits to the other amount."""
    forged = with_payload(told)
    second = forged[3]
    assert isinstance(second, ArchivedEvent)
    leaf = recorded_leaf(second.event)
    return [*forged[:3], replace(second, event=replace(second.event, leaf=leaf)), *forged[4:]]


def with_root(told: list[Line]) -> list[Line]:
    """The root of its commit fits, too."""
    forged = with_leaf(told)
    commit = forged[5]
    assert isinstance(commit, Commit)
    events = [line.event.leaf for line in forged[3:5] if isinstance(line, ArchivedEvent)]
    return [*forged[:5], replace(commit, root=merkle_root(events)), *forged[6:]]


def with_chain(told: list[Line]) -> list[Line]:
    """The chain goes on from there."""
    forged = with_root(told)
    first, commit = forged[2], forged[5]
    assert isinstance(first, Commit)
    assert isinstance(commit, Commit)
    chain = next_chain(first.chain, commit.root, commit.last_position)
    return [*forged[:5], replace(commit, chain=chain), *forged[6:]]


@pytest.mark.parametrize(
    ("forge", "line", "problem"),
    [
        (with_payload, 4, "does not give its leaf"),
        (with_leaf, 6, "the root is not that"),
        (with_root, 6, "the chain does not continue"),
        (with_chain, 7, "the checkpoint's root is not that of these events"),
    ],
)
def test_whoever_forges_an_amount_has_to_forge_the_signature(forge: Forgery, line: int, problem: str) -> None:
    found = damage_in(list(relinked(forge(said(WHOLE)))))
    assert problem in found.problem
    assert (found.line, found.position) == (line, 2 if line < 7 else None)


def test_only_the_signature_tells_a_log_that_was_forged_throughout() -> None:
    forged = filled([1, 2], first_id=70)
    unsealed = archive_of(forged)
    assert check_archive(lines(unsealed)).verified
    assert not check_archive(lines(unsealed), [SIGNER.verifier]).verified
    by_stranger = archive_of(forged, seal_at=sealed_by(STRANGER, forged))
    assert check_archive(lines(by_stranger)).verified
    assert "signed by" in check_archive(lines(by_stranger), [SIGNER.verifier]).problem
    assert check_archive(lines(by_stranger), [STRANGER.verifier]).verified


def test_a_checkpoint_of_another_log_is_refused() -> None:
    *told, seal, end = said(WHOLE)
    other = filled([1, 2], first_id=70)
    (*_, foreign, _) = said(archive_of(other, seal_at=sealed_by(SIGNER, other)))
    assert "another log" in damage_in(list(relinked([*told, foreign, end]))).problem
    assert isinstance(seal, Seal)
    longer = replace(seal, right=(bytes(32),))
    assert "hashes do not lead" in damage_in(list(relinked([*told, longer, end]))).problem
    garbled = replace(seal, note="no checkpoint")
    assert "no checkpoint" in damage_in(list(relinked([*told, garbled, end]))).problem


@pytest.mark.parametrize(
    "change",
    [
        lambda header: replace(header, first_ordinal=1),
        lambda header: replace(header, after=Position(5)),
        lambda header: replace(header, left=(bytes(32),)),
        lambda header: replace(header, chain=b""),
        lambda header: replace(header, chain=bytes([1] * 32)),
        lambda header: replace(header, has_commits=False),
        lambda header: replace(header, has_commits=False, chain=b""),
    ],
)
def test_a_header_that_lies_about_where_the_archive_begins_is_found_out(change: Callable[[Header], Header]) -> None:
    header, *rest = said(archive_of(SMALL))
    assert isinstance(header, Header)
    damage_in(list(relinked([change(header), *rest])))


@pytest.mark.parametrize(
    "change",
    [
        lambda end: replace(end, events=end.events + 1),
        lambda end: replace(end, commits=0),
        lambda end: replace(end, size=end.size - 1),
        lambda end: replace(end, root=bytes(32)),
        lambda end: replace(end, chain=bytes(32)),
        lambda end: replace(end, position=Position(99)),
    ],
)
def test_an_end_that_does_not_fit_is_found_out(change: Callable[[End], End]) -> None:
    *told, end = said(archive_of(SMALL))
    assert isinstance(end, End)
    assert "does not fit" in damage_in(list(relinked([*told, change(end)]))).problem
