"""Bazel as a user runs it, one server process for each output base, and what its builds did."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bazel.grpc_log import Traffic, traffic

IDLE_SECONDS = 600
"""A Bazel server that nobody asks anything for so long ends by itself."""

SHUTDOWN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Spawn:
    """One process that a build wanted run.

    runner: what ran it: `remote`, `remote cache hit`, or the name of a local strategy.
    outputs: digest of each file that it made, `hash/size`, by path; none of what stayed remote.
    """

    target: str
    mnemonic: str
    runner: str
    remote_cache_hit: bool
    exit_code: int
    outputs: dict[str, str]


@dataclass(frozen=True, slots=True)
class Build:
    """What one command did.

    status: Bazel's exit status; 0 done, 1 a build failed, 3 a test failed.
    output: all that Bazel printed.
    spawns: from its execution log, so that they are counted by what ran them; those that Bazel
        itself found up to date are not among them.
    traffic: from its log of calls.
    """

    status: int
    output: str
    seconds: float
    spawns: tuple[Spawn, ...]
    traffic: Traffic

    @property
    def remote_hits(self) -> int:
        """Actions whose result came from the remote action cache."""
        return sum(spawn.remote_cache_hit for spawn in self.spawns)

    @property
    def executed(self) -> list[Spawn]:
        """Actions that were run, wherever."""
        return [spawn for spawn in self.spawns if not spawn.remote_cache_hit]

    @property
    def executed_remotely(self) -> list[Spawn]:
        return [spawn for spawn in self.executed if spawn.runner == "remote"]

    def outputs(self) -> dict[str, str]:
        """Return the digest of every file that was made, by path below the execution root."""
        return {path: digest for spawn in self.spawns for path, digest in spawn.outputs.items()}


class Bazel:
    """A work space, an output base, and the server that keeps them in memory."""

    def __init__(self, workspace: Path, output_base: Path, *, rc: Path) -> None:
        """Use `rc` instead of the user's and the work space's own bazelrc.

        Raises FileNotFoundError, with the command that mends it, if there is no Bazel.
        """
        program = shutil.which("bazel")
        if program is None:
            raise FileNotFoundError("there is no bazel on PATH: run `make setup`")
        self.workspace = workspace
        self.output_base = output_base
        output_base.mkdir(parents=True, exist_ok=True)
        self._log = output_base.with_name(f"{output_base.name}.log")
        self._spawns = output_base.with_name(f"{output_base.name}.spawns.json")
        self._calls = output_base.with_name(f"{output_base.name}.calls")
        self._startup = [
            program,
            f"--output_user_root={output_base.with_name('output_user_root')}",
            f"--output_base={output_base}",
            f"--max_idle_secs={IDLE_SECONDS}",
            "--nohome_rc",
            "--noworkspace_rc",
            f"--bazelrc={rc}",
        ]

    def build(self, *arguments: str) -> Build:
        """Run `bazel build`."""
        return self._recorded("build", *arguments)

    def test(self, *arguments: str) -> Build:
        """Run `bazel test`."""
        return self._recorded("test", *arguments)

    def clean(self) -> None:
        """Forget everything that was built; the server stays."""
        self._checked("clean")

    def shutdown(self) -> None:
        """End the server."""
        self._checked("shutdown")

    def printed_so_far(self) -> str:
        """Return what the command that runs now, or ran last, has printed."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _recorded(self, command: str, *arguments: str) -> Build:
        for file in (self._spawns, self._calls):
            file.unlink(missing_ok=True)
        logs = (
            f"--execution_log_json_file={self._spawns}",
            f"--experimental_remote_grpc_log={self._calls}",
        )
        start = time.monotonic()
        status = self._run(command, *logs, *arguments)
        seconds = time.monotonic() - start
        spawns = tuple(spawns_in(self._spawns.read_text())) if self._spawns.exists() else ()
        calls = self._calls.read_bytes() if self._calls.exists() else b""
        return Build(status, self.printed_so_far(), seconds, spawns, traffic(calls))

    def _checked(self, command: str) -> None:
        if status := self._run(command):
            raise RuntimeError(f"bazel {command} ended with {status}:\n{self.printed_so_far()}")

    def _run(self, command: str, *arguments: str) -> int:
        """Return the exit status.

        Output goes to a file: the server inherits its client's, so that a pipe would stay open.
        """
        with self._log.open("w") as log:
            return subprocess.run(
                [*self._startup, command, *arguments],
                cwd=self.workspace,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode


@contextmanager
def running_bazel(workspace: Path, output_base: Path, *, rc: Path) -> Iterator[Bazel]:
    """Offer Bazel until the block ends; its server ends with the block, by its own command."""
    bazel = Bazel(workspace, output_base, rc=rc)
    try:
        yield bazel
    finally:
        bazel.shutdown()
        # Bazel makes its outputs read-only, which would keep others from removing the folder.
        subprocess.run(["chmod", "-R", "u+w", output_base], check=True)


def spawns_in(log: str) -> Iterator[Spawn]:
    """Read an execution log: JSON objects one behind the other, without anything between them."""
    decoder = json.JSONDecoder()
    position = 0
    while (position := _skip_space(log, position)) < len(log):
        entry, position = decoder.raw_decode(log, position)
        yield Spawn(
            target=entry.get("targetLabel") or entry.get("progressMessage", ""),
            mnemonic=entry.get("mnemonic", ""),
            runner=entry.get("runner", ""),
            remote_cache_hit=entry.get("remoteCacheHit", False),
            exit_code=entry.get("exitCode", 0),
            outputs={
                file["path"]: f"{file['digest']['hash']}/{file['digest'].get('sizeBytes', 0)}"
                for file in entry.get("actualOutputs", [])
                if "digest" in file
            },
        )


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position
