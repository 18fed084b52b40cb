"""Check the contracts: style, formatting, compatibility with main, and that proto/gen is what they generate."""

import filecmp
import io
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from scripts.generate_protos import PROTO, ROOT, generate, google_protos

BUF = Path(sys.executable).with_name("buf")
GOOGLE_PROTOS = ("google/api/annotations.proto", "google/api/http.proto")
BUF_TIMEOUT_S = 60


def main(arguments: list[str]) -> int:
    """Run every check, say what each found, and return 0 when all hold; `--format` rewrites instead."""
    copy_google_protos(PROTO)
    if arguments == ["--format"]:
        return run_buf(["format", "--write"])
    failed = [name for name, check in CHECKS.items() if not check()]
    print(f"contracts: {', '.join(failed)} failed" if failed else f"contracts: {', '.join(CHECKS)} hold")
    return 1 if failed else 0


def is_styled() -> bool:
    """Whether names, comments and structure follow buf.yaml."""
    return run_buf(["lint"]) == 0


def is_formatted() -> bool:
    """Whether `make fmt` would change nothing."""
    return run_buf(["format", "--diff", "--exit-code"]) == 0


def is_compatible() -> bool:
    """Whether clients and stored events of main's contracts still work; true where there is no main to compare with."""
    archive = subprocess.run(
        ["git", "archive", "--format=zip", "main", "proto"], cwd=ROOT, capture_output=True, check=False
    )
    if archive.returncode != 0:
        print("contracts: no branch main here, so compatibility was not compared")
        return True
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(io.BytesIO(archive.stdout)) as files:
        files.extractall(folder)
        main_proto = Path(folder) / "proto"
        copy_google_protos(main_proto)
        return run_buf(["breaking", "--against", str(main_proto)]) == 0


def is_generated_fresh() -> bool:
    """Whether proto/gen holds, byte for byte, what `make proto` writes."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        stale = differing_files(Path(folder) / "meterlog", PROTO / "gen" / "meterlog")
    for path in stale:
        print(f"proto/gen/meterlog/{path} is stale; run make proto")
    return not stale


CHECKS: dict[str, Callable[[], bool]] = {
    "style": is_styled,
    "formatting": is_formatted,
    "compatibility": is_compatible,
    "generated code": is_generated_fresh,
}


def differing_files(left: Path, right: Path) -> list[Path]:
    """Relative paths of files that only one side has, or that differ in any byte."""
    names = files_under(left) | files_under(right)
    return sorted(name for name in names if not is_same_file(left / name, right / name))


def files_under(folder: Path) -> set[Path]:
    """Relative paths of all files below `folder`, caches of the interpreter left out."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path for path in paths if "__pycache__" not in path.parts}


def is_same_file(left: Path, right: Path) -> bool:
    """Whether both exist with equal bytes."""
    return left.is_file() and right.is_file() and filecmp.cmp(left, right, shallow=False)


def copy_google_protos(proto: Path) -> None:
    """Put the google/api contracts that ours import beside them, where buf looks for them without a network."""
    for name in GOOGLE_PROTOS:
        target = proto / "third_party" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(google_protos() / name, target)


def run_buf(arguments: list[str]) -> int:
    """The exit code of buf, run inside proto/."""
    return subprocess.run([BUF, *arguments], cwd=PROTO, timeout=BUF_TIMEOUT_S, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
