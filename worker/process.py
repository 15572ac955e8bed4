"""Child processes: started without a fork of this large one, waited for, and never left behind."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import json
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Self, TypeVar

from worker.sandbox import Ended, Run, SandboxUnavailable
from worker.usage import Usage

Result = TypeVar("Result")

CLONE_FS = 0x200  # source: linux/sched.h
PR_SET_CHILD_SUBREAPER = 36  # source: linux/prctl.h
UMASK = 0o022  # of every action, whatever the worker's own is
STATUS_FD = 3  # where the child finds the pipe that it reports on
NAMED_CHARACTERS = 1000  # of a program or of stderr, in a message
REPORT_BYTES = 64 * 1024


@dataclass(slots=True)
class Child:
    """A process that is to be started, or was.

    status: pipe on which it reports JSON, a line each; reported: its end of that.
    pid: 0 until it is started.
    """

    status: int
    reported: int
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What is known once every process is gone. exit_code: None if the command never started."""

    exit_code: int | None
    usage: Usage


class Spawner(AbstractContextManager["Spawner"]):
    """Starts processes, from one thread of its own that lives as long as this is open.

    A thread of its own, since a umask is set for it alone, and since "die with the parent" means
    the thread that started a process.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "spawner", initializer=_detach_umask)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None:
        self._thread.shutdown()

    async def start(self, child: Child, command: Sequence[str], run: Run) -> None:
        """Start `command`, with no environment, as `child`; raise OSError if that cannot be.

        The child has a process group of its own: a Ctrl-C on the worker's terminal is not for it.
        """

        def spawn() -> None:
            child.pid = os.posix_spawn(
                command[0],
                list(command),
                {},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, run.stdout.writer, 1),
                    (os.POSIX_SPAWN_DUP2, run.stderr.writer, 2),
                    (os.POSIX_SPAWN_DUP2, child.reported, STATUS_FD),
                ],
                setpgroup=0,
                setsigmask=[],
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM],
            )

        await to_its_end(spawn, self._thread)


async def supervise(
    spawner: Spawner, command: Sequence[str], run: Run, end: Callable[[Child], Report]
) -> Ended:
    """Start `command`, which runs `run`, and see to its end.

    end: kills what is left of the child's processes, waits until they are gone and reaps; it is
    called in a thread, once, if the child was started, whatever happens here.
    Raises SandboxUnavailable if the report says that the command of `run` was never started.
    """
    timed_out = False
    report = Report(None, Usage())
    child = Child(*os.pipe2(os.O_CLOEXEC))
    try:
        await _started(spawner, child, command, run)
        async with asyncio.timeout(run.timeout_seconds):
            await _exit(child.pid)
    except _TooLong as error:
        return Ended(error.exit_code, timed_out=False, usage=Usage())
    except TimeoutError:
        timed_out = True
    finally:
        try:
            if child.pid:
                report = await to_its_end(lambda: end(child))
        finally:
            os.close(child.status)
    if report.exit_code is None and not timed_out:
        raise SandboxUnavailable(f"{command[0]} did not start the command: {await said(run)}")
    killed = 128 + signal.SIGKILL
    return Ended(killed if timed_out else report.exit_code or 0, timed_out, report.usage)


async def said(run: Run) -> str:
    """Return the last that was written to stderr, once nobody can write any more."""
    await run.stderr.end()
    content = run.stderr.content()
    data = content if isinstance(content, bytes) else await asyncio.to_thread(content.read_bytes)
    return data[-NAMED_CHARACTERS:].decode(errors="replace").strip()


class _TooLong(Exception):
    """The command's arguments and environment are more than the kernel takes."""

    exit_code = 126  # as shells have it for what cannot be executed


async def _started(spawner: Spawner, child: Child, command: Sequence[str], run: Run) -> None:
    try:
        await spawner.start(child, command, run)
    except OSError as error:
        if error.errno != errno.E2BIG:
            raise SandboxUnavailable(f"{command[0]} cannot be started: {error.strerror}") from error
        os.write(
            run.stderr.writer, f"{run.arguments[0][:NAMED_CHARACTERS]}: {error.strerror}\n".encode()
        )
        raise _TooLong from error
    finally:
        os.close(child.reported)
        run.stdout.close_writer()
        run.stderr.close_writer()


async def to_its_end(
    function: Callable[[], Result], thread: ThreadPoolExecutor | None = None
) -> Result:
    """Call `function` in a thread, and wait for it even if this is cancelled meanwhile.

    The cancellation is raised afterwards: what must not be cut short is not, nothing is hidden.
    """
    done = asyncio.get_running_loop().run_in_executor(thread, function)
    cancellation: asyncio.CancelledError | None = None
    while not done.done():
        try:
            await asyncio.wait([done])
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        done.exception()  # seen, since nobody is left to tell
        raise cancellation
    return done.result()


async def _exit(pid: int) -> None:
    """Wait until the child `pid` has ended; it is not reaped."""
    loop = asyncio.get_running_loop()
    handle = os.pidfd_open(pid)
    ended = asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def first_report(child: Child) -> bytes:
    """Wait for the first line on the status pipe; return what was read, empty at its end."""
    read = b""
    while b"\n" not in read:
        chunk = os.read(child.status, REPORT_BYTES)
        if not chunk:
            break
        read += chunk
    return read


def all_reports(child: Child, read: bytes = b"") -> dict[str, float]:
    """Read the status pipe to its end, after `read`, and return its numbers by name."""
    while chunk := os.read(child.status, REPORT_BYTES):
        read += chunk
    numbers: dict[str, float] = {}
    for line in read.splitlines():
        numbers.update(json.loads(line))
    return numbers


def exit_code(reports: dict[str, float]) -> int | None:
    """Return the exit code that was reported; None if the command was never started."""
    return int(reports["exit-code"]) if "exit-code" in reports else None


def adopt_orphans() -> None:
    """Make this process the parent of orphans below it.

    Bubblewrap's first process outlives its parent for a moment, and what the action used is known
    only to who reaps it.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise SandboxUnavailable(f"prctl: {os.strerror(ctypes.get_errno())}")


def _detach_umask() -> None:
    """Give this thread a umask of its own, and set it.

    Where the kernel refuses, actions get the worker's umask: bubblewrap needs more of it, and
    says so itself.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_FS) == 0:
        os.umask(UMASK)
