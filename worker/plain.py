"""No sandbox: actions as plain processes, for machines without user name spaces."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from worker import launcher
from worker.process import STATUS_FD, Child, Report, Spawner, all_reports, exit_code, supervise
from worker.sandbox import Ended, Run, Sandbox, SandboxUnavailable, try_out
from worker.usage import KIB, Usage


class Plain(Sandbox):
    """Runs each command below a launcher, which sees to it that no descendant is left.

    user: ACTION_USER, for a worker that is root, or None.
    """

    def __init__(self, spawner: Spawner, *, user: int | None = None) -> None:
        self.user = user
        self._spawner = spawner

    async def probe(self, folder: Path) -> None:
        try:
            # By its full path: a user who cannot reach the folder could not use it either.
            marker = folder / "reached"
            marker.touch()
            await try_out(self, folder, ["/bin/sh", "-c", 'test -e "$0"', str(marker)])
        except SandboxUnavailable as error:
            who = "the worker's own user" if self.user is None else f"user {self.user}"
            raise SandboxUnavailable(f"actions cannot run in {folder} as {who}: {error}") from error

    async def run(self, run: Run) -> Ended:
        order = run.scratch / "command"
        order.write_text(
            json.dumps(
                {
                    "arguments": list(run.arguments),
                    "environment": dict(run.environment),
                    "folder": str(run.root / run.working_directory),
                    "user": self.user,
                    "status": STATUS_FD,
                }
            )
        )
        command = [sys.executable, "-I", "-S", launcher.__file__, str(order)]
        return await supervise(self._spawner, command, run, _end)


def _end(child: Child) -> Report:
    """Have the launcher kill what is left, and wait for it."""
    os.kill(child.pid, signal.SIGTERM)
    reports = all_reports(child)
    os.waitpid(child.pid, 0)
    used = [reports.get(name, 0) for name in launcher.USAGE]
    return Report(
        exit_code(reports),
        Usage(
            user_seconds=used[0],
            system_seconds=used[1],
            max_rss_bytes=int(used[2]) * KIB,
            block_reads=int(used[3]),
            block_writes=int(used[4]),
            minor_faults=int(used[5]),
            major_faults=int(used[6]),
        ),
    )
