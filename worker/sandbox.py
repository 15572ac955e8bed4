"""What actions run in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.stdio import Capture
from worker.usage import Usage

ACTION_USER = 65534  # nobody: has no files, and an entry in every passwd file; its group likewise
PROBE_SECONDS = 30

GIVEN_UP = (
    'worker.sandbox.kind = "none" runs actions without one; given up: they see the whole host and '
    "its network, each other's files and processes, and the path they run at differs from run to "
    "run, so that far fewer results are reproducible"
)


class SandboxUnavailable(RuntimeError):
    """The sandbox itself failed, not the action in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One command to run.

    root: folder of the host that holds the input tree; path: where the command sees it.
    working_directory: below root. environment: all of it. stdout, stderr: what takes the streams.
    scratch: a folder of this run's own, which the command does not see.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str]
    root: Path
    path: str
    working_directory: str
    scratch: Path
    stdout: Capture
    stderr: Capture
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended. exit_code: 128 and the signal's number if a signal killed it."""

    exit_code: int
    timed_out: bool
    usage: Usage


class Sandbox(ABC):
    """Runs commands, each apart from the others.

    user: id of the user of the host that commands run as; None: the worker's own.
    """

    user: int | None

    @abstractmethod
    async def run(self, run: Run) -> Ended:
        """Run one command to its end, or kill it when its time is over or this is cancelled.

        When it returns or raises, no process of the command is left. A program that cannot be
        found or executed is an end with exit code 127 or 126 and a line on stderr.
        Raises SandboxUnavailable if the sandbox failed before the command was started.
        """

    @abstractmethod
    async def probe(self, folder: Path) -> None:
        """Run a command that does nothing below `folder`; raise SandboxUnavailable if it fails."""


async def try_out(sandbox: Sandbox, folder: Path, arguments: Sequence[str]) -> None:
    """Run `arguments`, which must succeed in any sandbox, below `folder`.

    Raises SandboxUnavailable, with what stands on stderr, if it fails.
    """
    stdout = Capture(folder / "stdout", max_bytes=4096)
    stderr = Capture(folder / "stderr", max_bytes=4096)
    run = Run(
        arguments=arguments,
        environment={},
        root=folder,
        path="/b/probe",
        working_directory="",
        scratch=folder,
        stdout=stdout,
        stderr=stderr,
        timeout_seconds=PROBE_SECONDS,
    )
    try:
        ended = await sandbox.run(run)
        await stderr.end()
    finally:
        stdout.close()
        stderr.close()
    content = stderr.content()
    said = content.decode(errors="replace").strip() if isinstance(content, bytes) else ""
    if ended.timed_out or ended.exit_code:
        raise SandboxUnavailable(f"{' '.join(arguments)} ends with {ended.exit_code}: {said}")
