"""What actions run in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from protos import worker_pb2
from worker.stdio import Capture
from worker.usage import Usage

ACTION_USER = 65534  # nobody: has no files, and an entry in every passwd file; its group likewise
PROBE_SECONDS = 30
PROBE_BYTES = 32 * 1024  # little enough to stay in memory

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

    root: folder of the host that holds the input tree; path: where the command is to see it.
    working_directory: below root. environment: the Command's own variables, and PATH; the sandbox
    adds others where none of that name is there. stdout, stderr: what takes the streams.
    scratch: a folder of this run's own, which the command does not see.
    seed: what randomness is drawn from (see worker/seeded.py); "" leaves it to the system.
    variation: what is to be otherwise than always.
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
    seed: str = ""
    variation: worker_pb2.Variation | None = None

    @property
    def varied(self) -> worker_pb2.Variation:
        return self.variation or worker_pb2.Variation()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended. exit_code: 128 and the signal's number if a signal killed it."""

    exit_code: int
    timed_out: bool
    usage: Usage


class Sandbox(ABC):
    """Runs commands, each apart from the others.

    user: id of the user of the host that commands run as; None: the worker's own.
    switches: names of what it keeps the same for every run, sorted; settled by `probe`.
    """

    user: int | None
    switches: tuple[str, ...] = ()

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

    @abstractmethod
    def shown(self, run: Run) -> str:
        """Return the absolute path at which the command sees its input root."""


async def try_out(
    sandbox: Sandbox,
    folder: Path,
    arguments: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    seed: str = "",
    seconds: float = PROBE_SECONDS,
) -> bytes:
    """Run `arguments`, which must succeed, below `folder`; return stdout, or stderr if it is empty.

    Up to PROBE_BYTES are kept. Raises SandboxUnavailable, with what stands on stderr, if it fails.
    """
    stdout = Capture(folder / "stdout", max_bytes=PROBE_BYTES)
    stderr = Capture(folder / "stderr", max_bytes=PROBE_BYTES)
    run = Run(
        arguments=arguments,
        environment=environment or {},
        root=folder,
        path="/b/probe",
        working_directory="",
        scratch=folder,
        stdout=stdout,
        stderr=stderr,
        timeout_seconds=seconds,
        seed=seed,
    )
    try:
        ended = await sandbox.run(run)
        await stdout.end()
        await stderr.end()
    finally:
        stdout.close()
        stderr.close()
    out, said = (_little(stream) for stream in (stdout, stderr))
    if ended.timed_out or ended.exit_code:
        why = said.decode(errors="replace").strip()
        raise SandboxUnavailable(f"{' '.join(arguments)} ends with {ended.exit_code}: {why}")
    return out or said


def _little(stream: Capture) -> bytes:
    content = stream.content()
    return content if isinstance(content, bytes) else b""  # spilled: over PROBE_BYTES of memory
