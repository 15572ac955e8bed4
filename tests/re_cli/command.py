"""The `holdfast` command, run as people run it."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tests.serving import HOLDFAST


@dataclass(frozen=True)
class Done:
    status: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout.decode()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    def json(self) -> dict[str, object]:
        return cast("dict[str, object]", json.loads(self.stdout))


@dataclass(frozen=True)
class Holdfast:
    """Runs commands against one server: HOST:PORT."""

    server: str

    def __call__(self, *arguments: str | Path, cwd: Path | None = None) -> Done:
        done = subprocess.run(
            [HOLDFAST, *arguments], capture_output=True, check=False, cwd=cwd, env=self._environment
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return Done(done.returncode, done.stdout, done.stderr.decode())

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "HOLDFAST_SERVER": self.server, "COLUMNS": "200"}

    def started(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command whose stdout and stderr are pipes, and do not wait for it."""
        return subprocess.Popen(
            [HOLDFAST, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment,
        )

    def put(self, path: Path, *options: str) -> str:
        """Upload one file or folder; return its digest."""
        done = self("put", *options, path)
        assert done.status == 0, done.stderr
        return done.text.split()[0]
