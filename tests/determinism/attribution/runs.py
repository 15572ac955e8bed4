"""Real commands, run twice, and what they leave."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from determinism.attribution.cause import attributed, likeliest
from determinism.attribution.clue import Circumstances
from determinism.difference import Attributed, Cause
from determinism.outcome import Difference

NOW = 1_795_390_626.5  # 2026-11-22T23:37:06Z


@dataclass(frozen=True)
class Ran:
    files: Mapping[str, bytes]
    circumstances: Circumstances


def run(script: str, folder: Path, inputs: Mapping[str, str] | None = None) -> Ran:
    """Run `script` by /bin/sh in `folder`, which is made and removed again."""
    for name, content in (inputs or {}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.time()
    subprocess.run(["/bin/sh", "-ec", script], cwd=folder, check=True, capture_output=True)
    ended = time.time()
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    shutil.rmtree(folder)
    return Ran(files, Circumstances(begun=begun, ended=ended, root=str(folder)))


def explained(first: Ran, then: Ran, name: str) -> list[Attributed]:
    """Return where and why the output `name` differs."""
    difference = Difference(name, "1/1", "2/2")
    return attributed(
        difference, first.files[name], then.files[name], first.circumstances, then.circumstances
    )


def cause(first: Ran, then: Ran, name: str) -> Cause:
    return likeliest(explained(first, then, name))[0]


def circumstances(begun: float = NOW, seconds: float = 1.0, **known: str) -> Circumstances:
    return Circumstances(begun=begun, ended=begun + seconds, **known)


C = "#include <stdio.h>\nint main(void) { puts(__FILE__); return 0; }\n"
