"""The house rules, made executable: sizes, names, banned phrases, docstrings, and nothing that one machine knows."""

import ast
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GENERATED = "proto/gen/"

FILE_LINES_MAX = 300
FUNCTION_LINES_MAX = 50

# Functions that may be longer, by file, with their length; a comment says why.
LONG_FUNCTIONS: dict[str, object] = {}

# Phrases that a source must not hold, and what to do instead.
BANNED = {
    r"\bdatetime\.(?:now|utcnow|today)\(": "take a Clock",
    r"\bdate\.today\(": "take a Clock",
    r"\btime\.time(?:_ns)?\(": "take a Clock",
    r"(?<![\w.])float\(": "use Decimal for quantities and amounts, integers for settings",
    r"\bFIXME\b": "finish it first",
    r"\bTODO\b": "finish it first",
    r"\bNotImplementedError\b": "build it, or leave it out",
    r"\bpytest\.(?:skip|mark\.skip|importorskip)": "make the test run, or delete it",
    r"#\s*type:\s*ignore(?!\[[\w, -]+\]\s*\S)": "name the code and the reason: type: ignore[code]  # reason",
    r"#\s*noqa(?!: ?[A-Z]+\d+(?:, ?[A-Z]+\d+)*\s*[^\s\d,])": "name the code and the reason: noqa: CODE (reason)",
}

# Where a banned phrase is right, and why.
EXEMPT = {
    ("services/kernel/clock.py", "take a Clock"): "the one place that time comes from",
    ("sdk/python/meterlog/client/clock.py", "take a Clock"): "the SDK's clock; it imports nothing of the services",
}

# Files that hold the outermost loop of a server or a worker: only there may any error be caught and kept.
OUTERMOST_LOOPS = {
    "sdk/python/meterlog/client/async_background.py",
    "sdk/python/meterlog/client/background.py",
    "services/eventstore/group_commit.py",
    "services/ingest/partition_writer.py",
    "services/notifier/courier.py",
    "services/projection/lasting_thread.py",
    "services/rating/worker.py",
    "services/rpc/interceptor.py",
    "services/rpc/projection_face.py",
}

BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}

# Addresses that only one machine or one registry knows; written as patterns, so that this file has none itself.
MACHINE_PATHS = re.compile(r"(?<![\w.}$])/(?:home|Users|root|work|opt|mnt|srv)/\w")
REGISTRIES = re.compile(r"\b(?:[\w-]+\.)?(?:py(?:pi|thonhosted)|npm(?:js)?|yarnpkg|crates|rubygems)\.(?:org|com|io)\b")
REGISTRY_OPTIONS = re.compile(r"--(?:extra-)?index-url|--find-links")


def tracked_files() -> list[Path]:
    """Every file that git has, or would take, below the root."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30).stdout
    return [ROOT / name for name in listing.splitlines() if (ROOT / name).is_file()]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


FILES = [path for path in tracked_files() if not name_of(path).startswith(GENERATED)]
SOURCES = [path for path in FILES if path.suffix == ".py"]
SHIPPED = [path for path in SOURCES if name_of(path).startswith(("services/", "sdk/"))]
SDK = [path for path in SHIPPED if name_of(path).startswith("sdk/")]


def problems(paths: Iterable[Path], rule: Callable[[Path], object]) -> dict[str, object]:
    """What a rule finds, by file; files in order are left out."""
    found = {name_of(path): rule(path) for path in paths}
    return {name: problem for name, problem in found.items() if problem}


def test_there_is_something_to_check() -> None:
    assert len(SHIPPED) > 100
    assert len(SDK) > 5


def test_a_source_fits_on_a_few_screens() -> None:
    def too_long(path: Path) -> int:
        lines = len(path.read_text().splitlines())
        return lines if lines > FILE_LINES_MAX else 0

    assert problems(SOURCES, too_long) == {}, "give a noun or a verb of it a file of its own"


def test_a_function_fits_on_one_screen() -> None:
    def too_long(path: Path) -> dict[str, int]:
        return {name: lines for name, lines in function_lengths(path) if lines > FUNCTION_LINES_MAX}

    assert problems(SOURCES, too_long) == LONG_FUNCTIONS, "one level of abstraction a function"


def test_a_source_holds_no_banned_phrase() -> None:
    assert problems(SOURCES, banned_phrases) == {}


def test_an_error_is_caught_narrowly() -> None:
    def too_broad(path: Path) -> list[int]:
        return [node.lineno for node in handlers(path) if is_broad(node) and not is_raised_again(node)]

    broad = problems(SOURCES, too_broad)
    assert broad.keys() - OUTERMOST_LOOPS == set(), "name the error, or raise it again"
    assert OUTERMOST_LOOPS - broad.keys() == set(), "no longer needed; take it out"


def test_a_name_says_what_is_inside() -> None:
    def empty_names(path: Path) -> set[str]:
        return {part.removesuffix(".py").strip("_") for part in path.relative_to(ROOT).parts} & BANNED_NAMES

    assert problems(SOURCES, empty_names) == {}


def test_a_module_says_what_it_is() -> None:
    def is_silent(path: Path) -> bool:
        text = path.read_text()
        return bool(text.strip()) and not ast.get_docstring(ast.parse(text))

    assert problems(SOURCES, is_silent) == {}, "begin with one sentence"


def test_what_is_public_says_its_rule() -> None:
    def silent(path: Path) -> list[str]:
        return [name for name, node in public_definitions(path) if not ast.get_docstring(node)]

    assert problems(SHIPPED, silent) == {}


def test_the_sdk_stands_alone() -> None:
    def imports_of_services(path: Path) -> set[str]:
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        return {node.module for node in nodes if node.module and node.module.partition(".")[0] == "services"}

    assert problems(SDK, imports_of_services) == {}


def test_a_file_knows_no_machine_and_no_registry() -> None:
    def addresses(path: Path) -> list[str]:
        text = readable_text(path)
        return [
            found.group()
            for pattern in (MACHINE_PATHS, REGISTRIES, REGISTRY_OPTIONS)
            for found in pattern.finditer(text)
        ]

    assert problems(FILES, addresses).keys() - {"tests/test_tidy.py"} == set()


def test_an_exemption_is_still_needed() -> None:
    stale = [
        (name, reason)
        for name, reason in EXEMPT
        if not any(
            instead.startswith(reason) and re.search(phrase, (ROOT / name).read_text())
            for phrase, instead in BANNED.items()
        )
    ]
    assert stale == []


def banned_phrases(path: Path) -> list[str]:
    """Each banned phrase of a source that no exemption covers, with its line and what to do instead."""
    if path == Path(__file__).resolve():
        return []
    lines = path.read_text().splitlines()
    return [
        f"line {number}: {line.strip()} ({instead})"
        for number, line in enumerate(lines, start=1)
        for phrase, instead in BANNED.items()
        if re.search(phrase, line) and not is_exempt(path, instead)
    ]


def is_exempt(path: Path, instead: str) -> bool:
    return any(name == name_of(path) and instead.startswith(reason) for name, reason in EXEMPT)


def handlers(path: Path) -> Iterator[ast.ExceptHandler]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ExceptHandler))


def is_broad(handler: ast.ExceptHandler) -> bool:
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)} if handler.type else set()
    return handler.type is None or bool(names & {"Exception", "BaseException"})


def is_raised_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def function_lengths(path: Path) -> Iterator[tuple[str, int]]:
    """Every function of a source with its length in lines, decorators left out."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def public_definitions(path: Path) -> Iterator[tuple[str, Definition]]:
    """The functions and classes of a module that have no leading underscore."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node.name, node


def readable_text(path: Path) -> str:
    """The text of a file; bytes that are no UTF-8 are left out."""
    return path.read_bytes().decode(errors="ignore")
