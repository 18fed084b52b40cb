"""`meterlog log` and `audit export` as they are called: files are whole or absent, and words help."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from services.cli import __main__ as command_line
from services.cli.addresses import Running, default_addresses, write_running
from services.cli.failure import CommandFailed
from services.cli.whole_file import whole_file
from services.eventstore.audit.verify import verify
from services.eventstore.event import NewEvent, StreamName
from services.eventstore.sqlite.read_only import ReadOnlySqliteEventStore
from services.eventstore.sqlite.store import SqliteEventStore
from services.kernel.clock import SimulatedClock
from tests.archives import EVENT_COUNT, START, archive_of, fill, filled, leaves, lines

ROOT = Path(__file__).resolve().parents[2]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("METERLOG_STORE_URL", "METERLOG_VAR", "METERLOG_SEAL_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Runs one command: its exit code, standard output, standard error."""

    def called(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["meterlog", *arguments])
        code = command_line.main()
        out, err = capfd.readouterr()
        return code, out, " ".join(err.split())

    return called


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log of the platform in the folder `var`."""
    path = tmp_path / "var/log/events.db"
    store = SqliteEventStore(path, SimulatedClock(START))
    fill(store)
    store.close()
    return path


def leaves_in(path: Path) -> list[bytes]:
    store = ReadOnlySqliteEventStore(path)
    try:
        assert verify(store).verified
        return leaves(store)
    finally:
        store.close()


def test_a_log_is_backed_up_and_restored(call: Call, log: Path, tmp_path: Path) -> None:
    code, words, _ = call("log", "export", "backup")
    assert (code, words.split(";")[0]) == (0, "exported 14 events, up to position 14, into backup")
    assert Path("backup").read_bytes() == archive_of(filled())
    code, words, _ = call("log", "import", "backup", "--store", "sqlite:///restored.db")
    assert code == 0
    assert words.startswith("the log took over all 14 events of the archive and ends at position 14.")
    assert leaves_in(tmp_path / "restored.db") == leaves_in(log)
    assert "had already all 14" in call("log", "import", "backup", "--store", "sqlite:///restored.db")[1]


def test_documents_say_the_same(call: Call, log: Path) -> None:
    _, exported, _ = call("log", "export", "backup", "--json")
    _, imported, _ = call("log", "import", "backup", "--store", "sqlite:///restored.db", "--json")
    _, checked, _ = call("log", "check", "backup", "--json")
    first, second, third = json.loads(exported), json.loads(imported), json.loads(checked)
    assert first["root"] == second["root"] == third["root"]
    assert first["chain"] == second["chain"] == third["chain"]
    assert (first["events"], second["is_changed"], third["verified"]) == (14, True, True)


def test_a_log_goes_through_a_pipe(log: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "services.cli", "log"]
    path = os.pathsep.join(str(ROOT / folder) for folder in ("", "proto/gen", "sdk/python"))
    with subprocess.Popen(
        [*command, "export", "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    ) as export:
        taken = subprocess.run(
            [*command, "import", "-", "--store", "sqlite:///restored.db"],
            stdin=export.stdout,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            timeout=60,
            check=False,
        )
        _, remarks = export.communicate(timeout=60)
    assert (export.returncode, taken.returncode) == (0, 0), remarks.decode() + taken.stderr.decode()
    assert b"exported 14 events" in remarks
    assert leaves_in(tmp_path / "restored.db") == leaves_in(log)


def test_parts_are_exported_and_imported_in_their_order(call: Call, log: Path, tmp_path: Path) -> None:
    assert call("log", "export", "first", "--until", "6")[0] == 0
    assert call("log", "export", "second", "--after", "6")[0] == 0
    code, _, remark = call("log", "import", "second", "--store", "sqlite:///restored.db")
    assert code == 1
    assert "import the archive of what lies before first" in remark
    for part in ("first", "second"):
        assert call("log", "import", part, "--store", "sqlite:///restored.db")[0] == 0
    assert leaves_in(tmp_path / "restored.db") == leaves_in(log)


def test_a_file_that_is_there_is_not_overwritten(call: Call, log: Path) -> None:
    Path("backup").write_text("precious")
    code, _, remark = call("log", "export", "backup")
    assert (code, remark) == (2, "error: backup is there already and is not overwritten; choose another name")
    assert Path("backup").read_text() == "precious"


def test_an_export_that_fails_leaves_no_file(call: Call, log: Path, tmp_path: Path) -> None:
    assert call("log", "export", "backup", "--until", "99")[0] == 2
    assert call("log", "export", "no/such/folder/backup")[0] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["var"]


def test_a_disk_that_is_full_leaves_no_file(tmp_path: Path) -> None:
    def fill_the_disk() -> None:
        with whole_file(tmp_path / "file") as file, Path("/dev/full").open("wb") as full:
            file.write(b"x")
            os.dup2(full.fileno(), file.fileno())

    with pytest.raises(CommandFailed, match="No space left on device"):
        fill_the_disk()
    assert list(tmp_path.iterdir()) == []


def test_two_do_not_write_the_same_file(tmp_path: Path) -> None:
    with whole_file(tmp_path / "file") as first:
        first.write(b"first")
        with pytest.raises(CommandFailed, match="another process"), whole_file(tmp_path / "file"):
            pass
    assert (tmp_path / "file").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_export_left_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".file.partial").write_bytes(b"left behind, and longer")
    with whole_file(tmp_path / "file") as file:
        file.write(b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_a_damaged_archive_is_refused_with_its_line(call: Call, tmp_path: Path) -> None:
    content = lines(archive_of(filled()))
    content[5] = content[5].replace(b'"version":', b'"version":1')
    Path("damaged").write_bytes(b"".join(content))
    code, words, _ = call("log", "check", "damaged")
    assert (code, words.split(":")[0]) == (1, "NOT verified at line 6, position 4")
    code, _, remark = call("log", "import", "damaged", "--store", "sqlite:///restored.db")
    assert code == 1
    assert "damaged at line 6 (position 4)" in remark
    assert "The log ends at position 2 now" in remark
    assert len(leaves_in(tmp_path / "restored.db")) == 2


def test_a_log_that_holds_something_else_is_refused(call: Call, log: Path) -> None:
    Path("other").write_bytes(archive_of(filled(first_id=500)))
    code, _, remark = call("log", "import", "other")
    assert code == 1
    assert "the log holds something else at position 1" in remark
    assert len(leaves_in(log)) == EVENT_COUNT


def test_the_log_of_a_running_platform_takes_nothing_over(call: Call, log: Path, tmp_path: Path) -> None:
    write_running(tmp_path / "var", Running(os.getpid(), f"sqlite:///{log}", default_addresses()))
    assert call("log", "export", "backup")[0] == 0
    code, _, remark = call("log", "import", "backup")
    assert code == 2
    assert "is running" in remark


@pytest.mark.parametrize(
    "arguments",
    [
        ("log", "import", "missing"),
        ("log", "check", "missing"),
        ("log", "export", "-", "--json"),
        ("log", "import", "-", "--public-key", "no key"),
        ("log", "export", "backup", "--after", "-1"),
    ],
)
def test_a_command_that_is_called_wrongly_says_so(call: Call, log: Path, arguments: tuple[str, ...]) -> None:
    code, _, remark = call(*arguments)
    assert code == 2
    assert remark.startswith("error: ")


def test_a_log_is_counted(call: Call, log: Path) -> None:
    _, words, _ = call("log", "info")
    assert words.startswith(
        "14 events up to position 14, 329 payload bytes, "
        "recorded 2024-01-31T23:59:59.999999Z to 2024-01-31T23:59:59.999999Z"
    )
    counted = json.loads(call("log", "info", "--json")[1])
    assert sum(row["events"] for row in counted["types"]) == counted["events"] == EVENT_COUNT
    assert counted["types"][0] == {"category": "invoice", "type": "Häppened", "schema_version": 1, "events": 2}


def test_an_empty_log_is_counted_too(call: Call) -> None:
    SqliteEventStore(Path("empty.db"), SimulatedClock(START)).close()
    assert json.loads(call("log", "info", "--store", "sqlite:///empty.db", "--json")[1])["events"] == 0


def test_what_is_exported_for_an_audit_proves_itself(call: Call, log: Path, tmp_path: Path) -> None:
    assert call("audit", "keygen", "--name", "example.com/log")[0] == 0
    assert call("audit", "seal")[0] == 0
    store = SqliteEventStore(log, SimulatedClock(START))
    fill(store, [2], first_id=500)
    store.close()
    assert call("audit", "export", "whole")[0] == 0
    assert call("audit", "export", "part", "--from", "4", "--to", "7")[0] == 0
    for name, events in (("whole", 14), ("part", 6)):
        words = call("audit", "check", name)[1]
        assert words.startswith(f"verified: {events} events"), words
        ran = [
            sys.executable,
            "-I",
            str(ROOT / "scripts/verify_archive.py"),
            name,
            "--public-key",
            "var/keys/seal.key.pub",
        ]
        outsider = subprocess.run(ran, capture_output=True, text=True, timeout=60, check=False)
        assert outsider.stdout.startswith(f"verified: {events} events"), outsider
    assert call("log", "import", "whole", "--store", "sqlite:///r.db", "--public-key", "var/keys/seal.key.pub")[0] == 0
    assert len(leaves_in(tmp_path / "r.db")) == 14


def test_with_a_key_nothing_is_imported_before_the_signature_is_seen(call: Call, log: Path) -> None:
    assert call("audit", "keygen")[0] == 0
    assert call("log", "export", "unsealed")[0] == 0
    code, _, remark = call(
        "log", "import", "unsealed", "--store", "sqlite:///r.db", "--public-key", "var/keys/seal.key.pub"
    )
    assert code == 1
    assert "nothing was imported" in remark
    assert not Path("r.db").exists()


EVENTS = 12_000
KILLED = -9


@pytest.mark.parametrize("point", ["append.before_commit", "append.after_commit"])
def test_an_import_that_was_killed_is_repeated(tmp_path: Path, point: str) -> None:
    origin = filled([])
    for number in range(0, EVENTS, 1_000):
        events = [NewEvent(UUID(int=number + each), "Happened", 1, b"x") for each in range(1_000)]
        origin.append(StreamName("usage", "0"), events, number - 1)
    (tmp_path / "backup").write_bytes(archive_of(origin))
    path = os.pathsep.join(str(ROOT / folder) for folder in ("", "proto/gen", "sdk/python"))
    command = [sys.executable, "-m", "services.cli", "log", "import", "backup", "--store", "sqlite:///restored.db"]

    def run(failpoints: str) -> int:
        environment = {**os.environ, "PYTHONPATH": path, "METERLOG_FAILPOINTS": failpoints}
        return subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False).returncode

    assert run(f"{point}=kill@2") == KILLED
    found = leaves_in(tmp_path / "restored.db")
    assert found == leaves(origin)[: 5_000 if point == "append.before_commit" else 10_000]
    assert run("") == 0
    assert leaves_in(tmp_path / "restored.db") == leaves(origin)
