"""Running cases, round by round: as plain processes, and on the server's instances."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from subprocess import SubprocessError
from tempfile import TemporaryDirectory

from cas.digest import Digest
from determinism.outcome import Outcome, outcome_of
from lab import plain
from lab.audits import Audit, audited
from lab.cases import CALM, GUARD, Case
from lab.server import (
    DEFAULTS,
    FUNCTION,
    PREVENTING,
    REWRITING,
    Bench,
    NotRun,
    bench,
    lab_server,
)
from protos import remote_execution_pb2 as reapi
from re_client.parallel import each

ROUND_SECONDS = 2.1
"""Least time from one round to the next: the coarsest clock that is often used, zip's, has 2 s."""

WIDTH = 4
"""Cases that run at one time."""

AUDITS = 2
"""Audits at one time."""

SAID_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Plan:
    """How often cases run.

    plain: as plain processes. preventing: with the sandbox alone. runs: with rewriting as well.
    slow: wait as long between two runs as a case says that its difference needs.
    audit: audit each in the end.
    """

    runs: int = 20
    preventing: int = 5
    plain: int = 2
    slow: bool = False
    audit: bool = True

    @property
    def rounds(self) -> int:
        return max(self.runs, self.preventing, self.plain)

    @property
    def steps(self) -> int:
        """What is done with one case, over all."""
        return self.runs + self.preventing + self.plain + 1 + self.audit


@dataclass(slots=True)
class Seen:
    """What came of the runs of one case.

    answers: what the server answered when no fresh result was asked for. conflicts: results that
    differed from the pinned one, as the server counts them. unlike_plain: files that differ between
    a plain run and a result of the server; looked for only where there must be none. problems: why
    it could not be run as it should.
    """

    case: Case
    action: Digest
    plain: list[plain.Made] = field(default_factory=list)
    preventing: list[Outcome] = field(default_factory=list)
    rewriting: list[Outcome] = field(default_factory=list)
    answers: list[Outcome] = field(default_factory=list)
    conflicts: int = 0
    unlike_plain: list[str] = field(default_factory=list)
    audit: Audit | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def first(self) -> Outcome | None:
        """The result that is to be pinned: the first of those that did not fail."""
        return next((one for one in self.rewriting if one.streams["exit code"] == "0"), None)


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs cases on one server.

    on_step: told each time that something was done with a case.
    """

    plan: Plan
    folder: Path
    preventing: Bench
    rewriting: Bench
    defaults: Bench
    on_step: Callable[[], object]

    async def run(self, cases: Sequence[Case]) -> list[Seen]:
        """Do all that the plan says with `cases`; return what came of each."""
        found = [Seen(case, await self._sent(case)) for case in cases]
        gap = ROUND_SECONDS
        if self.plan.slow:
            gap = max(gap, *(case.expected.min_gap_s for case in cases))
        for number in range(self.plan.rounds):
            begun = time.monotonic()
            await self._with_each(found, partial(self._round, number=number))
            if number + 1 < self.plan.rounds:
                await asyncio.sleep(max(0, begun + gap - time.monotonic()))
        await self._with_each(found, self._ask)
        if self.plan.audit:
            await self._with_each(found, self._audit, width=AUDITS)
        return found

    async def _sent(self, case: Case) -> Digest:
        await self.preventing.send(case)
        await self.defaults.send(case)
        return await self.rewriting.send(case)

    async def _with_each(
        self, found: list[Seen], do: Callable[[Seen], Awaitable[None]], *, width: int = WIDTH
    ) -> None:
        """Do something with each case, but with those that cannot be run."""

        async def guarded(seen: Seen) -> None:
            if not seen.problems:
                with _noting(seen):
                    await do(seen)

        await each(guarded, found, width=width)

    async def _round(self, seen: Seen, number: int) -> None:
        if number < self.plan.plain:
            done = await asyncio.to_thread(plain.run, seen.case, self.folder)
            _check(seen.case, done.exit_code, done.said)
            seen.plain.append(done.made)
            self.on_step()
        if number < self.plan.preventing:
            seen.preventing.append(await self._fresh(seen, self.preventing))
            self.on_step()
        if number < self.plan.runs:
            seen.rewriting.append(await self._fresh(seen, self.rewriting))
            self.on_step()

    async def _fresh(self, seen: Seen, on: Bench) -> Outcome:
        result = await on.run(seen.action, fresh=True)
        _check(seen.case, result.exit_code, result.stderr_raw.decode(errors="replace"))
        return outcome_of(result, FUNCTION)

    async def _ask(self, seen: Seen) -> None:
        """Ask for the result as clients do that know nothing of it, if there is one to pin."""
        if seen.first is None:
            return
        cached = await self.rewriting.session.actions.result(seen.action, inline=True)
        executed = await self.rewriting.run(seen.action, fresh=False)
        seen.answers = [outcome_of(result, FUNCTION) for result in (cached, executed)]
        pin = await self.rewriting.session.admin.pin(self.rewriting.instance, seen.action)
        seen.conflicts = pin.conflicts
        if seen.case.expected.kind in CALM:
            unconfigured = await self.defaults.run(seen.action, fresh=True)
            seen.unlike_plain = await self._unlike_plain(seen, self.defaults, unconfigured)
        if seen.case.expected.kind == GUARD:
            seen.unlike_plain += await self._unlike_plain(seen, self.rewriting, cached)
        self.on_step()

    async def _unlike_plain(
        self, seen: Seen, where: Bench, result: reapi.ActionResult
    ) -> list[str]:
        with TemporaryDirectory(dir=self.folder) as to:
            made = await where.fetch(result, seen.case.expected.outputs, Path(to))
        return [
            path
            for path in sorted(made.keys() | seen.plain[0].keys())
            if made.get(path) != seen.plain[0].get(path)
        ]

    async def _audit(self, seen: Seen) -> None:
        seen.audit = await audited(self.preventing, seen.action)
        self.on_step()


async def run_all(cases: Sequence[Case], plan: Plan, on_step: Callable[[], object]) -> list[Seen]:
    """Run `cases`, each on a server whose working trees are of the kind that it needs."""
    by_tree: dict[str, list[Case]] = {}
    for case in cases:
        by_tree.setdefault(case.expected.workdir or "disk", []).append(case)
    found: list[Seen] = []
    for working_tree, chosen in by_tree.items():
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="holdfast-lab-")))
            served = stack.enter_context(lab_server(folder / "server", working_tree=working_tree))
            preventing = await stack.enter_async_context(bench(served, PREVENTING))
            rewriting = await stack.enter_async_context(bench(served, REWRITING))
            defaults = await stack.enter_async_context(bench(served, DEFAULTS))
            runner = Runner(plan, folder, preventing, rewriting, defaults, on_step)
            found += await runner.run(chosen)
    return sorted(found, key=lambda seen: seen.case.name)


@contextmanager
def _noting(seen: Seen) -> Iterator[None]:
    """Note what keeps a case from being run."""
    try:
        yield
    except (LookupError, OSError, RuntimeError, SubprocessError, ValueError) as error:
        seen.problems.append(str(error))


def _check(case: Case, exit_code: int, said: str) -> None:
    """Raise NotRun for an exit code that the case does not have."""
    if exit_code not in case.expected.measured.exit_codes:
        raise NotRun(f"exit code {exit_code}: {said.strip()[-SAID_CHARACTERS:]}")
