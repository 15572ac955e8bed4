"""Generate the Python modules of protos/*.proto, beside them.

Usage: python scripts/generate_protos.py      (from the project's root, in its environment)
  --out DIR   write DIR/protos/* instead
  --check     write nothing; exit 1 and name each module that is not what would be generated

googleapis-common-protos ships google/longrunning/operations.proto under the file name
operations_proto.proto, while its descriptor carries the public name. Generated modules must import
the public name, so the file is offered to the compiler under it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def installed_folder(package: str) -> Path:
    """Return the folder under which the installed `package` keeps its .proto files."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"{package} is not installed: run `make setup`")
    return Path(next(iter(spec.submodule_search_locations)))


def generate(out: Path) -> int:
    """Run the compiler over every file, into `out`/protos; return its exit status."""
    google = installed_folder("google.longrunning").parent
    with tempfile.TemporaryDirectory() as folder:
        public = Path(folder) / "google" / "longrunning" / "operations.proto"
        public.parent.mkdir(parents=True)
        shutil.copy(google / "longrunning" / "operations_proto.proto", public)
        scripts = Path(sys.executable).parent
        command = [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"--proto_path={ROOT}",
            f"--proto_path={google.parent}",
            f"--proto_path={folder}",
            f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
            f"--python_out={out}",
            f"--grpc_python_out={out}",
            f"--mypy_out=quiet:{out}",
            f"--mypy_grpc_out=quiet:{out}",
        ]
        files = [str(file.relative_to(ROOT)) for file in sorted((ROOT / "protos").glob("*.proto"))]
        return subprocess.run([*command, *files], check=False, cwd=ROOT).returncode


def modules(folder: Path) -> dict[str, bytes]:
    """Return the generated modules under `folder`/protos, by file name."""
    return {file.name: file.read_bytes() for file in (folder / "protos").glob("*_pb2*.py*")}


def differences(fresh: dict[str, bytes], kept: dict[str, bytes]) -> Iterator[str]:
    """Yield a line for each module of `kept` that is not as in `fresh`, or is in one of them."""
    for name in sorted(fresh.keys() | kept.keys()):
        if name not in kept:
            yield f"protos/{name}: missing"
        elif name not in fresh:
            yield f"protos/{name}: left over, no .proto file gives it"
        elif fresh[name] != kept[name]:
            yield f"protos/{name}: stale"


def check() -> int:
    """Say which modules have to be generated again; return 1 if there are any."""
    with tempfile.TemporaryDirectory() as folder:
        if status := generate(Path(folder)):
            return status
        found = list(differences(modules(Path(folder)), modules(ROOT)))
    for line in found:
        print(line)
    if found:
        print("run `python scripts/generate_protos.py` and commit what it writes")
    return 1 if found else 0


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments ask for; return the exit status."""
    parser = argparse.ArgumentParser(description="Generate the Python modules of protos/*.proto.")
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--out", type=Path, metavar="DIR", help="write DIR/protos/* instead")
    ways.add_argument("--check", action="store_true", help="only compare; exit 1 if any is stale")
    options = parser.parse_args(arguments)
    if options.check:
        return check()
    out = ROOT if options.out is None else options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    return generate(out)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
