"""Fuzz every target for its share of the time: `python -m fuzz.run --help`.

Each runs in a process of its own, since libFuzzer ends the process at the first fault.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fuzz.target import CORPUS
from fuzz.targets import TARGETS

ROOT = CORPUS.parent.parent
CRASHES = CORPUS.parent / "crashes"
FOUND = ROOT / "build" / "fuzz"
SECONDS = 600
HANG_SECONDS = 10  # one input of some KiB takes milliseconds
MEMORY_MIB = 1024
END_SECONDS = 60  # what a process may take to start and to end beside its share
_CASE = re.compile(r"^artifact_prefix=.*Test unit written to (\S+)$", re.MULTILINE)
_RUNS = re.compile(r"^stat::number_of_executed_units: (\d+)$", re.MULTILINE)
_COVERAGE = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)/")


class Outcome(NamedTuple):
    """What came of fuzzing one target. units: that lead somewhere. case: the input at fault."""

    runs: int
    edges: int
    features: int
    units: int
    failed: bool
    case: Path | None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds",
        type=int,
        default=int(os.environ.get("HOLDFAST_FUZZ_SECONDS", SECONDS)),
        help="for all targets together; $HOLDFAST_FUZZ_SECONDS, or %(default)s",
    )
    parser.add_argument(
        "--merge", action="store_true", help="then add to fuzz/corpus what found new ways"
    )
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="all of them if none")
    asked = parser.parse_args(arguments)
    # A process that is fuzzing ends with the block that waits for it, and so it does at a signal.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    names: list[str] = asked.targets or list(TARGETS)
    failed = [name for name in names if not _fuzzed(name, max(1, asked.seconds // len(names)))]
    if asked.merge:
        for name in names:
            merge(name)
    return 1 if failed else 0


def _fuzzed(name: str, seconds: int) -> bool:
    """Fuzz, print what came of it, and tell whether all is well."""
    outcome = fuzz(name, seconds)
    print(
        f"{name:18}{outcome.runs:>10,} runs  cov {outcome.edges:>5} ft {outcome.features:>5}"
        f"  {outcome.units:>4} new units  {'FAULT' if outcome.failed else 'no fault'}",
        flush=True,
    )
    if outcome.failed:
        case = outcome.case.relative_to(ROOT) if outcome.case else None
        print(f"  {case or 'it ended on its own'}; what it said: {_log(name).relative_to(ROOT)}")
        print(f"  again: python -m fuzz.one {name} {case or ''}", flush=True)
    return not outcome.failed


def fuzz(name: str, seconds: int) -> Outcome:
    """Fuzz one target, from its corpus and from what was found before."""
    for folder in (CRASHES, FOUND / name):
        folder.mkdir(parents=True, exist_ok=True)
    before = len(list((FOUND / name).iterdir()))
    ended = _one(
        name,
        f"-max_total_time={seconds}",
        f"-timeout={HANG_SECONDS}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-artifact_prefix={CRASHES}/{name}-",
        "-print_final_stats=1",
        "-reduce_inputs=0",
        str(FOUND / name),
        str(CORPUS / name),
        seconds=seconds,
    )
    said = _log(name).read_text(errors="replace")
    edges, features, _ = (_COVERAGE.findall(said) or [(0, 0, 0)])[-1]
    case, runs = _CASE.search(said), _RUNS.search(said)
    return Outcome(
        int(runs[1]) if runs else 0,
        int(edges),
        int(features),
        len(list((FOUND / name).iterdir())) - before,
        ended != 0 or runs is None,
        Path(case[1]) if case else None,
    )


def merge(name: str) -> None:
    """Make the corpus of the fewest inputs that reach what it, and what was found, reach."""
    small = FOUND / f"{name}.small"
    shutil.rmtree(small, ignore_errors=True)
    small.mkdir(parents=True)
    if _one(name, "-merge=1", *map(str, (small, CORPUS / name, FOUND / name)), seconds=600) != 0:
        raise SystemExit(f"{name}: merging failed; see {_log(name)}")
    for path in (CORPUS / name).iterdir():
        path.unlink()
    for path in small.iterdir():
        shutil.move(path, CORPUS / name)
    print(f"{name}: the corpus has {len(list((CORPUS / name).iterdir()))} files", flush=True)


def _one(name: str, *options: str, seconds: int) -> int:
    """Run `fuzz.one`, with what it says in a file; return its exit status."""
    command = [sys.executable, "-m", "fuzz.one", name, *options]
    with _log(name).open("wb") as log:
        running = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        try:
            return running.wait(seconds + END_SECONDS)
        finally:
            running.kill()
            running.wait()


def _log(name: str) -> Path:
    return FOUND / f"{name}.log"


if __name__ == "__main__":
    sys.exit(main())
