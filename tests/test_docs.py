"""What the documents say is what there is: targets, settings, files, events, dependencies, links, sessions."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from google.protobuf.descriptor_pool import Default
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass

from meterlog.aggregator.v1 import aggregator_pb2
from meterlog.ingest.v1 import ingest_pb2
from services.cli.platform import Platform
from services.cli.processes.environment import PlatformSettings
from services.cli.processes.var_lock import VarLock
from services.eventstore.catalogue import MESSAGES
from services.rpc.common_settings import DEFAULT_PORTS

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = {".venv", "var", "third_party", "node_modules"}

DOCUMENTS = sorted(path for path in ROOT.rglob("*.md") if not LEFT_OUT & set(path.relative_to(ROOT).parts))
ROOM_READMES = sorted(ROOT.glob("services/*/README.md"))
README = (ROOT / "README.md").read_text()
SETTING = re.compile(r"METERLOG_[A-Z0-9_]*[A-Z0-9](?!_?\*)\b")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)


@every_document
def test_a_link_leads_somewhere(document: Path) -> None:
    broken = [link for link in links(document) if not is_there(document, link)]
    assert broken == []


@every_document
def test_a_make_target_that_is_named_exists(document: Path) -> None:
    named = set(re.findall(r"(?:^ {4}|^|`|\$ )make ([a-z-]+)", document.read_text(), re.MULTILINE))
    assert named - make_targets() == set()


def test_readme_names_the_commands_of_a_newcomer() -> None:
    assert {"demo", "up", "test"} <= set(re.findall(r"make ([a-z-]+)", README))


def test_help_lists_every_target_with_one_sentence() -> None:
    described = set(re.findall(r"^([a-z-]+):.*?## \S", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert described == make_targets()


def test_readme_lists_every_setting_and_no_other() -> None:
    assert settings_in([ROOT / "README.md"]) == settings_in(SOURCES)


@every_document
def test_a_setting_that_is_named_exists(document: Path) -> None:
    assert settings_in([document]) - settings_in(SOURCES) == set()


def test_a_setting_of_a_manifest_exists() -> None:
    manifests = [path for path in (ROOT / "deploy").rglob("*") if path.is_file()]
    assert settings_in(manifests) - settings_in(SOURCES) == set()


@pytest.mark.parametrize("readme", ROOM_READMES, ids=name_of)
def test_a_file_that_a_room_names_exists(readme: Path) -> None:
    named = re.findall(r"`([\w./*-]+\.(?:py|proto|md))`", readme.read_text())
    folders = (readme.parent, readme.parent.parent, ROOT)
    assert [name for name in named if not any(any(folder.glob(name)) for folder in folders)] == []


@pytest.mark.parametrize("room", ["kernel", "eventstore", "projection", "rpc"])
def test_a_shared_room_names_its_files(room: str) -> None:
    folder = ROOT / "services" / room
    patterns = re.findall(r"`([\w*]+\.py)`", (folder / "README.md").read_text())
    files = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
    assert files - {path.name for pattern in patterns for path in folder.glob(pattern)} == set()


def test_every_service_has_a_readme() -> None:
    rooms = {path.parent for path in ROOT.glob("services/*/__main__.py")} - {ROOT / "services/cli"}
    assert [name_of(room) for room in sorted(rooms) if not (room / "README.md").is_file()] == []


def test_the_map_names_every_stored_event() -> None:
    architecture = (ROOT / "ARCHITECTURE.md").read_text()
    assert [name for name, _ in MESSAGES if f"`{name}`" not in architecture] == []


def test_every_dependency_has_its_line_of_reason() -> None:
    reasons = (ROOT / "docs/decisions/0009-dependencies.md").read_text()
    assert set(re.findall(r"^\| `([\w-]+)` \|", reasons, re.MULTILINE)) == dependencies()


def test_the_index_lists_every_decision() -> None:
    folder = ROOT / "docs/decisions"
    records = {path.name for path in folder.glob("[0-9]*.md")}
    assert set(re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text())) == records


def test_a_decision_says_what_would_change_our_mind() -> None:
    sections = ["Context", "Decision", "Consequences", "What would change our mind"]
    for record in (ROOT / "docs/decisions").glob("[0-9]*.md"):
        assert re.findall(r"^## (.+)$", record.read_text(), re.MULTILINE) == sections, record.name


def test_the_demonstration_shows_what_readme_says(tmp_path: Path) -> None:
    command, *shown = code_block("console").splitlines()
    path = os.pathsep.join(str(ROOT / folder) for folder in ("", "proto/gen", "sdk/python"))
    environment = {**os.environ, "COLUMNS": "100", "PYTHONPATH": path}
    run = [sys.executable, "-m", "services.cli", "demo"]
    ran = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False)
    printed = {masked(line) for line in ran.stdout.splitlines()}
    assert command == "$ make demo"
    assert [line for line in shown if line != "…" and masked(line) not in printed] == [], ran.stdout + ran.stderr
    assert ran.returncode == 0


def test_the_session_in_python_prints_what_readme_says(tmp_path: Path) -> None:
    session, printed = code_block("python"), code_block("text")
    settings = PlatformSettings(var=tmp_path, port_base=0)
    with Platform(settings, VarLock.take(tmp_path), lambda _line: None) as platform:
        for service, port in DEFAULT_PORTS.items():
            session = session.replace(f"127.0.0.1:{port}", platform.addresses[service])
        ran = subprocess.run([sys.executable, "-c", session], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.stdout, ran.stderr) == (printed, "")


def test_a_request_of_the_session_with_grpcurl_is_one() -> None:
    calls = re.findall(r"grpcurl -plaintext -d '([^']+)' \\\n\s+127\.0\.0\.1:(\d+) ([\w.]+)/(\w+)", README)
    assert [method for _, _, _, method in calls] == ["CreateMeter", "RecordUsage", "QueryUsage"]
    for request, port, service, method in calls:
        assert service == SERVED[int(port)]
        described = Default().FindServiceByName(service).FindMethodByName(method)
        ParseDict(json.loads(request), GetMessageClass(described.input_type)())


SERVED = {
    DEFAULT_PORTS["ingest"]: ingest_pb2.DESCRIPTOR.services_by_name["IngestService"].full_name,
    DEFAULT_PORTS["aggregator"]: aggregator_pb2.DESCRIPTOR.services_by_name["AggregatorService"].full_name,
}


def masked(line: str) -> str:
    """A line without what differs from run to run: seconds, numbers of invoices, trailing blanks."""
    return re.sub(r"INV-\d+|\d+\.\d s\b", "#", line).rstrip()


def code_block(language: str) -> str:
    """The one block of README in that language."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return str(block)


def links(document: Path) -> list[str]:
    """The targets of a document's links, code left out."""
    prose = re.sub(r"```.*?```|`[^`\n]*`|^ {4}.*$", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose)


def is_there(document: Path, link: str) -> bool:
    """Whether a link leads to a file, or a heading of one; links to other places are not followed."""
    if re.match(r"https?://|mailto:", link):
        return True
    name, _, anchor = link.partition("#")
    target = (document.parent / name).resolve() if name else document
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def make_targets() -> set[str]:
    """What .PHONY of the Makefile lists."""
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    return set(phony.group(1).split())


SOURCES = sorted([*ROOT.glob("services/**/*.py"), *ROOT.glob("sdk/python/**/*.py")])
SERVICE_NAMES = ("INGEST", "AGGREGATOR", "RATING", "NOTIFIER")


def settings_in(paths: list[Path]) -> set[str]:
    """The METERLOG_* names in files; METERLOG_<SERVICE>_… stands for one of each service."""
    text = "\n".join(path.read_text() for path in paths)
    expanded = "\n".join(text.replace("<SERVICE>", service) for service in SERVICE_NAMES)
    return set(SETTING.findall(expanded))


def dependencies() -> set[str]:
    """The names in pyproject.toml, extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return {re.split(r"[<>=~!;\[ ]", line)[0] for line in lines}
