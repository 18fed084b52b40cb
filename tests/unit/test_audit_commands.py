"""`meterlog audit`, as it is called: keys, seals, verification, proofs, and what each says when it cannot."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from services.cli import __main__ as cli
from services.cli.processes.environment import default_store_url
from services.cli.processes.log_line import LogLine
from services.cli.sealing import SealingThread, keep_sealing
from services.eventstore.audit.checkpoint import SealedCheckpoint
from services.eventstore.sqlite.store import SqliteEventStore
from services.kernel.errors import Corrupt, Unavailable
from tests.audit_room import CLOCK, fill

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 60.0

Meterlog = Callable[..., tuple[int, str, str]]


@pytest.fixture
def var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a platform that is not running, with a log of 30 events."""
    for name in [name for name in os.environ if name.startswith("METERLOG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("METERLOG_VAR", str(tmp_path / "var"))
    monkeypatch.chdir(tmp_path)
    grow(tmp_path / "var", 30)
    return tmp_path / "var"


def grow(var: Path, count: int, first: int = 1) -> None:
    store = SqliteEventStore(var / "log" / "events.db", CLOCK)
    fill(store, count, first=first)
    store.close()


@pytest.fixture
def meterlog(var: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Meterlog:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["meterlog", *arguments])
        code = cli.main()
        written = capsys.readouterr()
        return code, written.out, written.err

    return run


def test_a_log_is_sealed_verified_and_proved(meterlog: Meterlog, var: Path) -> None:
    code, _, _ = meterlog("audit", "keygen")
    assert code == 0
    sealed = json.loads(meterlog("audit", "seal", "--json")[1])
    assert (sealed["size"], sealed["folder"]) == (30, str(var / "audit"))
    verified = json.loads(meterlog("audit", "verify", "--json")[1])
    assert (verified["verified"], verified["events"], verified["sealed"]) == (True, 30, 30)
    assert meterlog("audit", "prove", "7", "-o", "event.json")[0] == 0
    checked = json.loads(meterlog("audit", "check", "event.json", "--json")[1])
    assert (checked["verified"], checked["index"], checked["size"]) == (True, 6, 30)
    assert "verified: event 7 of the 30" in meterlog("audit", "check", "event.json")[1]


def test_an_outsider_needs_only_the_file_and_the_public_key(meterlog: Meterlog, var: Path, tmp_path: Path) -> None:
    public_key = json.loads(meterlog("audit", "keygen", "--json")[1])["public_key"]
    meterlog("audit", "seal")
    meterlog("audit", "prove", "usage-0", "-o", "event.json")
    meterlog("audit", "export", "part.archive", "--from", "6", "--to", "20")
    origin = (var / "audit/checkpoint").read_text().partition("\n")[0]
    var.rename(tmp_path / "away")
    for file in ("event.json", "part.archive"):
        assert meterlog("audit", "check", file, "--public-key", public_key, "--origin", origin)[0] == 0
        code, _, told = meterlog("audit", "check", file, "--public-key", public_key, "--origin", "meterlog/00")
        assert (code, "this is of the log meterlog/" in told) == (1, True)
        code, _, told = meterlog("audit", "check", file)
        assert (code, "no public key" in told) == (2, True)


def test_a_log_that_was_not_sealed_is_verified_by_its_chain_and_says_so(meterlog: Meterlog) -> None:
    code, said, _ = meterlog("audit", "verify")
    assert (code, "nothing sealed to compare with" in said) == (0, True)
    assert json.loads(meterlog("audit", "verify", "--json")[1])["sealed"] == 0


def test_a_span_is_verified(meterlog: Meterlog) -> None:
    assert json.loads(meterlog("audit", "verify", "--from", "6", "--to", "8", "--json")[1])["events"] == 5
    code, _, told = meterlog("audit", "verify", "--from", "8", "--to", "6")
    assert (code, "--from must not lie behind --to" in told) == (2, True)


def test_a_log_that_was_cut_short_is_found_and_not_sealed(meterlog: Meterlog, var: Path) -> None:
    meterlog("audit", "keygen")
    meterlog("audit", "seal")
    for path in (var / "log").iterdir():
        path.unlink()
    grow(var, 12)
    code, said, _ = meterlog("audit", "verify", "--json")
    found = json.loads(said)
    assert (code, found["first_bad_position"]) == (1, 13)
    assert "18 more events were sealed" in found["problem"]
    code, said, _ = meterlog("audit", "seal", "--json")
    assert (code, json.loads(said)["error"]["reason"]) == (1, "LOG_NOT_AS_SEALED")


def test_a_changed_file_of_the_seal_is_named(meterlog: Meterlog, var: Path) -> None:
    meterlog("audit", "keygen")
    meterlog("audit", "seal")
    (var / "audit/checkpoints/30").write_text("x")
    found = json.loads(meterlog("audit", "verify", "--json")[1])
    assert (found["verified"], found["first_bad_position"], found["first_bad_file"]) == (False, None, "checkpoints/30")


def test_a_log_is_compared_with_an_older_checkpoint(meterlog: Meterlog, var: Path) -> None:
    meterlog("audit", "keygen")
    meterlog("audit", "seal")
    kept = var.parent / "kept-by-the-auditor"
    kept.write_bytes((var / "audit/checkpoint").read_bytes())
    grow(var, 20, first=31)
    meterlog("audit", "seal")
    assert meterlog("audit", "consistency", str(kept), "50", "-o", "grown.json")[0] == 0
    assert "50 events began with the 30" in meterlog("audit", "check", "grown.json")[1]
    code, _, told = meterlog("audit", "consistency", "31", "50")
    assert (code, "no checkpoint of 31 events" in told) == (1, True)
    code, _, told = meterlog("audit", "consistency", "nowhere", "50")
    assert (code, "neither a size nor a file" in told) == (2, True)


def test_a_proof_goes_to_standard_output_when_no_file_is_named(meterlog: Meterlog) -> None:
    meterlog("audit", "keygen")
    meterlog("audit", "seal")
    assert json.loads(meterlog("audit", "prove", "1")[1])["index"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("seal",), 1, "audit keygen"),
        (("prove", "1"), 2, "no public key"),
        (("seal", "--every", "soon"), 2, "a whole number and s, m, h or d"),
        (("seal", "--every", "1s", "--json"), 2, "does not go with --json"),
        (("seal", "--every", "0s"), 2, "takes 1s or more"),
        (("verify", "--public-key", "nonsense"), 2, "is no public key"),
        (("check", "nowhere", "--public-key", "nonsense"), 2, "is no public key"),
        (("export", "-", "--json"), 2, "both want standard output"),
    ],
)
def test_a_call_that_cannot_be_served_says_what_to_do(
    arguments: tuple[str, ...], code: int, told: str, meterlog: Meterlog
) -> None:
    ended, _, err = meterlog("audit", *arguments)
    assert (ended, told in err) == (code, True), err


def test_the_private_key_is_shown_nowhere(meterlog: Meterlog, var: Path) -> None:
    said = "".join(meterlog("audit", "keygen")[1:])
    secret = (var / "keys/seal.key").read_text().strip().rpartition("+")[2]
    said += "".join(meterlog("audit", "keygen")[1:]) + "".join(meterlog("audit", "seal", "--json")[1:])
    said += "".join(meterlog("audit", "verify", "--public-key", str(var / "keys/seal.key"))[1:])
    assert "this is a private key" in said
    assert secret not in said


def test_a_sealer_follows_until_it_is_asked_to_stop(var: Path, meterlog: Meterlog) -> None:
    meterlog("audit", "keygen")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / each) for each in ("", "proto/gen"))}
    command = [sys.executable, "-m", "services.cli", "audit", "seal", "--every", "1s"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as sealing:
        assert sealing.stdout is not None
        assert sealing.stdout.readline().startswith("sealed 30 events")
        grow(var, 5, first=31)
        assert sealing.stdout.readline().startswith("sealed 35 events")
        sealing.send_signal(signal.SIGTERM)
        assert sealing.wait(WAIT_S) == 0


def checkpoint(size: int) -> SealedCheckpoint:
    return SealedCheckpoint("meterlog/log", size, bytes(32), "")


def test_what_may_pass_is_tried_again_and_the_alarm_ends_it() -> None:
    outcomes = iter([None, Unavailable("the store is away"), checkpoint(5), checkpoint(5), Corrupt("rewritten")])
    said: list[tuple[str, str]] = []

    def seal() -> SealedCheckpoint | None:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with pytest.raises(Corrupt, match="rewritten"):
        keep_sealing(seal, timedelta(0), threading.Event(), lambda level, text: said.append((level, text)))
    assert said == [("warning", "not sealed: the store is away"), ("info", f"sealed 5 events, root {'00' * 32}")]


class Listener:
    """Collects the lines of a sealing thread, and tells when one with a word has come."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self._changed = threading.Condition()

    def __call__(self, line: LogLine) -> None:
        with self._changed:
            self.lines.append(line)
            self._changed.notify_all()

    def wait_for(self, word: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: any(word in line.text for line in self.lines), WAIT_S), self.lines


def test_a_platform_seals_with_a_key_of_its_own(var: Path, meterlog: Meterlog) -> None:
    listener = Listener()
    thread = SealingThread(default_store_url(var), var, {}, listener)
    thread.start()
    listener.wait_for("sealed 30 events")
    thread.stop()
    assert [line.level for line in listener.lines] == ["info", "info"]
    assert json.loads(meterlog("audit", "verify", "--json")[1])["sealed"] == 30


def test_a_platform_says_gravely_that_its_log_was_changed(var: Path, meterlog: Meterlog) -> None:
    meterlog("audit", "keygen")
    meterlog("audit", "seal")
    for path in (var / "log").iterdir():
        path.unlink()
    grow(var, 3)
    listener = Listener()
    thread = SealingThread(default_store_url(var), var, {}, listener)
    thread.start()
    listener.wait_for("position 4")
    thread.stop()
    assert listener.lines[-1].level == "critical"


def test_a_key_that_the_environment_names_is_not_made_up(var: Path) -> None:
    listener = Listener()
    thread = SealingThread(default_store_url(var), var, {"METERLOG_SEAL_KEY_FILE": str(var / "none.key")}, listener)
    thread.start()
    listener.wait_for("no key at")
    thread.stop()
    assert not (var / "none.key").exists()


def test_a_span_that_no_log_can_have_is_misuse(meterlog: Meterlog) -> None:
    assert meterlog("audit", "verify", "--from", "30")[0] == 0
    assert meterlog("audit", "verify", "--from", "6", "--to", "1000")[0] == 0
    for first in ("31", "1000", str(2**63 - 1)):
        code, _, said = meterlog("audit", "verify", "--from", first)
        assert (code, "the log ends at position 30" in said) == (2, True), said
    for option in ("--from", "--to"):
        assert meterlog("audit", "verify", option, "1" + "0" * 20)[0] == 2
        assert meterlog("audit", "export", "out.archive", option, "1" + "0" * 20)[0] == 2


def test_more_digits_than_a_number_can_have_name_no_event(meterlog: Meterlog) -> None:
    meterlog("audit", "keygen")
    meterlog("audit", "seal")
    for name in ("9" * 5_000, "9" * 20, "usage-0/" + "9" * 5_000, "usage-0/" + "9" * 20):
        code, _, said = meterlog("audit", "prove", name)
        assert (code in {1, 2}, said.startswith("error: ")) == (True, True), said[:200]
    assert meterlog("audit", "prove", "0" * 5_000 + "7", "-o", "proof.json")[0] == 0
    for size in ("9" * 5_000, "9" * 20):
        assert meterlog("audit", "consistency", size, "30")[0] == 2
