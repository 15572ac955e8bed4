"""Runs one command, and leaves none of its descendants: a program of its own, started by plain.py.

Usage: python -I -S launcher.py ORDER      (ORDER: a JSON file; imports nothing but the library)

Its own user stays the worker's, so that it can kill what runs as another one. SIGTERM, or the end
of the worker, ends the command. It reports the exit code, and what was used, as
JSON, once nothing of the command is left.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import TypedDict

PR_SET_PDEATHSIG = 1  # source: linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
UMASK = 0o022
USAGE = (  # reported by these names of getrusage(2)
    "ru_utime",
    "ru_stime",
    "ru_maxrss",
    "ru_inblock",
    "ru_oublock",
    "ru_minflt",
    "ru_majflt",
)
NOT_EXECUTABLE, NOT_FOUND = 126, 127  # exit codes, as shells have them


class Order(TypedDict):
    """What to run. status: file descriptor of the pipe that the report goes to."""

    arguments: list[str]
    environment: dict[str, str]
    folder: str
    user: int | None
    umask: int
    status: int


class _Stopped(Exception):
    """The worker wants the command to end, or is gone."""


def main() -> None:
    """Run the command of the order, kill what is left of it, and report."""
    order: Order = json.loads(Path(sys.argv[1]).read_text())
    library = ctypes.CDLL(None)
    library.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, _stop)
    library.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    command, exit_code = 0, 128 + signal.SIGKILL
    try:
        command = os.fork()
        if command == 0:
            _become(order)
        exit_code = _wait_for(command)
    except _Stopped:
        pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _kill_descendants()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = {"exit-code": exit_code} | {name: getattr(used, name) for name in USAGE}
    os.write(order["status"], json.dumps(report).encode() + b"\n")


def _stop(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Stopped


def _become(order: Order) -> None:
    """Be the command; never return."""
    exit_code = NOT_EXECUTABLE
    program = order["arguments"][0]
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        os.close(order["status"])
        os.setsid()
        os.umask(order["umask"])
        if order["user"] is not None:
            os.setgroups([])
            os.setresgid(order["user"], order["user"], order["user"])
            os.setresuid(order["user"], order["user"], order["user"])
        os.chdir(order["folder"])
        try:
            os.execvpe(program, order["arguments"], order["environment"])  # noqa: S606
        except OSError as error:
            if error.errno != errno.ENOEXEC or "/" not in program:
                raise
            # A script without a first line that names its program, as execvp(3) has it.
            os.execve("/bin/sh", ["/bin/sh", *order["arguments"]], order["environment"])  # noqa: S606
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            exit_code = NOT_FOUND
        os.write(2, f"{program}: {error.strerror}\n".encode())
    finally:
        os._exit(exit_code)


def _wait_for(command: int) -> int:
    """Reap children until `command` is among them; return its exit code."""
    while True:
        pid, status = os.wait()
        if pid == command:
            code = os.waitstatus_to_exitcode(status)
            return 128 - code if code < 0 else code


def _kill_descendants() -> None:
    """Kill until nothing is left: orphans become children of this process, so none escapes."""
    while True:
        for pid in _descendants(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            os.wait()
        except ChildProcessError:
            return


def _descendants(pid: int) -> list[int]:
    """Return the processes below `pid`, by the kernel's lists of each thread's children."""
    found: list[int] = []
    pending = [pid]
    while pending:
        for thread in Path(f"/proc/{pending.pop()}/task").glob("*/children"):
            try:
                below = [int(child) for child in thread.read_text().split()]
            except OSError:
                continue  # it has ended meanwhile
            found += below
            pending += below
    return found


if __name__ == "__main__":
    main()
