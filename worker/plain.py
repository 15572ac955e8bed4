"""No sandbox: actions as plain processes, for machines without user name spaces."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from pathlib import Path

from re_config.schema import Prevention
from worker import environment, launcher, seeded
from worker.conditions import own_umask
from worker.prevention import PLAIN, in_force, unrandomised
from worker.process import STATUS_FD, Child, Report, Spawner, all_reports, exit_code, supervise
from worker.sandbox import Ended, Run, Sandbox, SandboxUnavailable, try_out
from worker.usage import KIB, Usage


class Plain(Sandbox):
    """Runs each command below a launcher, which sees to it that no descendant is left.

    user: ACTION_USER, for a worker that is root, or None. library: see worker/seeded.py, if there
    is one. The spawner is one that sets the conditions that `prevent` asks for.

    Of a variation it honours what needs no name space: variables, processors, addresses, delay and
    getrandom's randomness.
    """

    def __init__(
        self,
        prevent: Prevention,
        spawner: Spawner,
        *,
        user: int | None = None,
        library: Path | None = None,
    ) -> None:
        self.user = user
        self._prevent = prevent
        self._spawner = spawner
        self._library = library

    async def probe(self, folder: Path) -> None:
        try:
            # By its full path: a user who cannot reach the folder could not use it either.
            marker = folder / "reached"
            marker.touch()
            await try_out(self, folder, ["/bin/sh", "-c", 'test -e "$0"', str(marker)])
        except SandboxUnavailable as error:
            who = "the worker's own user" if self.user is None else f"user {self.user}"
            raise SandboxUnavailable(f"actions cannot run in {folder} as {who}: {error}") from error
        try:
            personality = await try_out(self, folder, ["/bin/cat", "/proc/self/personality"])
        except SandboxUnavailable:
            personality = b""
        self.switches = in_force(
            self._prevent,
            addresses=unrandomised(personality),
            library=self._library is not None,
            possible=PLAIN,
        )

    def shown(self, run: Run) -> str:
        return str(run.root)

    async def run(self, run: Run) -> Ended:
        await asyncio.sleep(run.varied.delay.ToNanoseconds() / 1e9)
        order = run.scratch / "command"
        order.write_text(
            json.dumps(
                {
                    "arguments": list(run.arguments),
                    "environment": self._variables(run),
                    "folder": str(run.root / run.working_directory),
                    "user": self.user,
                    "umask": launcher.UMASK if self._prevent.umask else int(own_umask(), 8),
                    "status": STATUS_FD,
                }
            )
        )
        command = [sys.executable, "-I", "-S", launcher.__file__, str(order)]
        return await supervise(self._spawner, command, run, _end)

    def _variables(self, run: Run) -> dict[str, str]:
        home = run.scratch / "home"
        home.mkdir(exist_ok=True)
        if self.user is not None:
            os.chown(home, self.user, self.user)
        whole = environment.whole(
            self._prevent,
            run.environment,
            home=str(home),
            own=os.environ,
            varied=run.varied.environment,
        )
        seed = run.varied.random_seed or run.seed
        if seed and self._library:
            # Where its user can reach it: the loader would complain on stderr.
            library = run.scratch / "seeded.so"
            shutil.copy(self._library, library)
            whole |= seeded.variables(seed, str(library), whole)
        return whole


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
