"""Regenerate proto/gen from proto/: messages, gRPC stubs and their types."""

import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"


def google_protos() -> Path:
    """The folder that holds google/api/*.proto, inside the installed googleapis-common-protos."""
    return Path(str(distribution("googleapis-common-protos").locate_file("")))


def generate(out: Path) -> None:
    """Write the generated packages under `out`, replacing what is there."""
    shutil.rmtree(out / "meterlog", ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    sources = sorted(str(path.relative_to(PROTO)) for path in (PROTO / "meterlog").rglob("*.proto"))
    options = [f"-I{PROTO}", f"-I{google_protos()}", f"--python_out={out}", f"--mypy_out=quiet:{out}"]
    services = [path for path in sources if "/events/" not in path]
    run_protoc([*options, *sources])
    run_protoc([*options, f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}", *services])


def run_protoc(arguments: list[str]) -> None:
    """Run protoc with the plugins that are installed beside this Python, whatever PATH says."""
    beside = Path(sys.executable).parent
    plugins = [f"--plugin={name}={beside / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *plugins, *arguments], check=True, cwd=PROTO)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else PROTO / "gen")
