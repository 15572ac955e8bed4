"""The generated modules that are kept are what the .proto files give."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def generate(root: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    script = root / "scripts" / "generate_protos.py"
    return subprocess.run(
        [sys.executable, script, *arguments], check=False, capture_output=True, text=True, cwd=root
    )


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A root of its own, with the .proto files, their modules and the script."""
    root = tmp_path / "root"
    (root / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "generate_protos.py", root / "scripts")
    (root / "protos").mkdir()
    for file in (ROOT / "protos").iterdir():
        if file.is_file():
            shutil.copy(file, root / "protos")
    return root


def test_the_kept_modules_are_what_is_generated(tmp_path: Path) -> None:
    done = generate(ROOT, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    fresh = {file.name: file.read_bytes() for file in (tmp_path / "protos").iterdir()}
    kept = {file.name: file.read_bytes() for file in (ROOT / "protos").glob("*_pb2*.py*")}
    assert fresh.keys() == kept.keys()
    stale = sorted(name for name in fresh if fresh[name] != kept[name])
    assert not stale, f"run `python scripts/generate_protos.py`: stale are {stale}"


def test_the_check_passes_and_says_nothing(copied: Path) -> None:
    assert generate(copied).returncode == 0
    done = generate(copied, "--check")
    assert (done.returncode, done.stdout) == (0, "")


def test_the_check_names_what_is_stale_missing_and_left_over(copied: Path) -> None:
    protos = copied / "protos"
    (protos / "semver_pb2.pyi").write_text("# by hand\n")
    (protos / "bytestream_pb2.py").unlink()
    (protos / "gone_pb2.py").write_text("")
    done = generate(copied, "--check")
    assert done.returncode == 1
    assert done.stdout.splitlines()[:3] == [
        "protos/bytestream_pb2.py: missing",
        "protos/gone_pb2.py: left over, no .proto file gives it",
        "protos/semver_pb2.pyi: stale",
    ]
    assert not (protos / "bytestream_pb2.py").exists()


def test_a_file_that_does_not_compile_fails_the_check(copied: Path) -> None:
    (copied / "protos" / "broken.proto").write_text("message {")
    done = generate(copied, "--check")
    assert done.returncode == 1
    assert "protos/broken.proto" in done.stderr
