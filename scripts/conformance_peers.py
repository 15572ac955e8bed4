"""Hold other servers and our own to the specification: `python -m scripts.conformance_peers`.

Starts each on loopback, runs the conformance suite on it, and prints tables in Markdown, or puts
them into docs/conformance.md (--write). `make setup` installs the servers in .peers.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks import peers
from benchmarks.servers import ROOT, Running, holdfast
from conformance.check import Check, Level
from conformance.connection import Address, connected
from conformance.report import counts
from conformance.running import Ending, Outcome, alive, run
from conformance.suite import CHECKS

PAGE = ROOT / "docs" / "conformance.md"
BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->\n"

Serve = Callable[[Path], AbstractContextManager[Running]]


@dataclass(frozen=True)
class Peer:
    """One server. command: how it is started, less ports and folders."""

    name: str
    command: str
    serve: Serve


PEERS = (
    Peer(f"Holdfast {version('holdfast')}", "holdfast serve", holdfast),
    Peer(peers.BAZEL_REMOTE, "bazel-remote", peers.bazel_remote),
    Peer(peers.BUILDGRID, "bgd server start, a cache in memory", peers.buildgrid),
    Peer(peers.CASD, "buildbox-casd", peers.casd),
)


async def _outcomes(running: Running, checks: Sequence[Check]) -> list[Outcome]:
    """Run `checks`, or as many as the server survives."""
    outcomes: list[Outcome] = []
    async with connected(Address(f"grpc://{running.address}", pid=running.pid)) as target:
        async for outcome in run(checks, target):
            outcomes.append(outcome)
            if outcome.ending in {Ending.FAILED, Ending.ERROR} and not await alive(target):
                break
    return outcomes


def measure(peer: Peer) -> list[Outcome]:
    """Start `peer`, run every check, and stop it; start it again where a check ended it."""
    outcomes: list[Outcome] = []
    while len(outcomes) < len(CHECKS):
        with (
            tempfile.TemporaryDirectory(prefix="conformance-") as folder,
            peer.serve(Path(folder)) as running,
        ):
            outcomes += asyncio.run(_outcomes(running, CHECKS[len(outcomes) :]))
    return outcomes


def page(found: Mapping[str, Sequence[Outcome]], measured: Sequence[Peer]) -> str:
    """Return the tables, and for each server which MUST it breaks."""
    lines = [
        f"`python -m scripts.conformance_peers` of {datetime.now(UTC):%Y-%m-%d}:",
        f"{len(CHECKS)} checks. A cell has how many passed / failed / were skipped;",
        "errors count as failed.",
        "",
        "| server | started as |",
        "| --- | --- |",
        *(f"| {peer.name} | `{peer.command}` |" for peer in measured),
        "",
    ]
    for level in Level:
        lines += [f"### {level}", "", *_table(found, level), ""]
    for name, outcomes in found.items():
        lines += [f"### MUST that {name} breaks", "", *_broken(outcomes), ""]
    return "\n".join(lines)


def _table(found: Mapping[str, Sequence[Outcome]], level: Level) -> Iterator[str]:
    by_server = {name: counts(outcomes) for name, outcomes in found.items()}
    yield f"| section | {' | '.join(found)} |"
    yield f"| --- |{' ---: |' * len(found)}"
    for section in dict.fromkeys(check.section for check in CHECKS if check.level is level):
        cells = [_cell(of[section], level) for of in by_server.values()]
        yield f"| {section} | {' | '.join(cells)} |"
    totals = [sum(of.values(), Counter()) for of in by_server.values()]
    yield f"| **all** | {' | '.join(_cell(of, level) for of in totals)} |"


def _cell(of: Counter[tuple[Level, Ending]], level: Level) -> str:
    failed = of[level, Ending.FAILED] + of[level, Ending.ERROR]
    return f"{of[level, Ending.PASSED]} / {failed} / {of[level, Ending.SKIPPED]}"


def _broken(outcomes: Sequence[Outcome]) -> list[str]:
    lines = [
        f"- `{outcome.check.id}`: {outcome.check.rule} ({outcome.check.source}) *{outcome.reason}*"
        for outcome in outcomes
        if outcome.check.level is Level.MUST and outcome.ending in {Ending.FAILED, Ending.ERROR}
    ]
    return lines or ["None."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="a server's name begins so; repeatable")
    parser.add_argument("--write", action="store_true", help=f"put it into {PAGE.name}")
    arguments = parser.parse_args()
    chosen = tuple(arguments.only or [""])
    measured = [peer for peer in PEERS if peer.name.startswith(chosen)]
    found: dict[str, list[Outcome]] = {}
    for peer in measured:
        print(f"running: {peer.name}", file=sys.stderr, flush=True)
        found[peer.name] = measure(peer)
    text = page(found, measured)
    if not arguments.write:
        print(text)
        return
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{text}{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
