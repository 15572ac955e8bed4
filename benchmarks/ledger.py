"""What the ledger costs: observations a second, and what telling it of a hit takes."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import median

from action_cache.results import ActionKey
from benchmarks.table import Table
from cas.digest import Digest
from determinism.ledger.intake import MAX_HITS
from determinism.ledger.retention import LedgerLimits
from determinism.ledger.store import opened
from determinism.observation import Observation, Source
from determinism.outcome import Outcome
from determinism.policy import Verdict

OBSERVATIONS = 50_000
OUTPUTS = 2
AGAIN = 0.5  # part of the observations whose action was seen before
IN_ONE_TRANSACTION = 500
LIMITS = LedgerLimits(max_seconds=90 * 86_400, max_bytes=10 << 30)
HIT_PASSES = 5
COLUMNS = 24  # of a plain row: as many as an observation has


def run(folder: Path, *, observations: int = OBSERVATIONS, rounds: int = 3) -> list[Table]:
    """Measure. folder: for the databases; it can be removed after."""
    table = Table(
        "The ledger",
        f"{observations:,} observations of actions with {OUTPUTS} outputs, of which "
        f"{AGAIN:.0%} are of an action seen before, told and then waited for: a second of CPU time "
        f"takes so many. Beside it, SQLite alone: executemany of one row of {COLUMNS} columns for "
        f"each, with an index on its time, in transactions of {IN_ONE_TRANSACTION}. The bar for "
        "the ledger is 5,000. Then what one call of `hit` takes, which stands on the way of every "
        "cached answer; its bar is 1,000 ns. Rounds take turns; medians.",
        ["ledger, per CPU second", "SQLite alone", "ratio", "hit, ns"],
    )
    seen = observed(observations)
    figures = [
        (
            told(folder / f"ledger{number}.sqlite", seen),
            plain(folder / f"plain{number}.sqlite", seen),
            hit_nanoseconds(folder / f"hits{number}.sqlite", seen),
        )
        for number in range(rounds)
    ]
    ledger, alone, hit = (median(each) for each in zip(*figures, strict=True))
    table.rows[f"{observations:,} observations"] = [ledger, alone, ledger / alone, hit]
    return [table]


def observed(count: int) -> list[Observation]:
    """Return observations as a large build makes them, the same in each call."""
    chance = random.Random(1)
    actions = int(count * (1 - AGAIN)) or 1
    now = time.time()
    numbers = [*range(actions), *(chance.randrange(actions) for _ in range(count - actions))]
    return [
        _observation(number, now + index / 1000, first=index < actions)
        for index, number in enumerate(numbers)
    ]


def _observation(number: int, at: float, *, first: bool) -> Observation:
    files = [Digest.of(b"%d %d" % (number, output)) for output in range(OUTPUTS)]
    outputs = {f"out/pkg{number % 2000}/{number}.{i}": str(each) for i, each in enumerate(files)}
    return Observation(
        key=ActionKey("main", Digest.of(b"action %d" % number)),
        at=at,
        source=Source.SERVICE,
        verdict=Verdict.FIRST if first else Verdict.AGREED,
        worker=f"worker-{number % 20}",
        toolchain="5f1d",
        switches=("addresses", "host_name", "path"),
        rules="ar 1, gzip 1, zip 1",
        program="gcc",
        version="gcc 12.2.0",
        mnemonic="CppCompile",
        target=f"//pkg{number % 2000}:lib{number % 10}",
        invocation=f"invocation {int(at) % 100}",
        tool="bazel 7.1.0",
        input_root=Digest.of(b"root %d" % number),
        seconds=1.5,
        exit_code=0,
        outcome=Outcome(outputs, {"stdout": "", "stderr": "", "exit code": "0"}),
        before={},
        formats={},
        root="/b/0123456789ab",
        begun=at - 2,
        ended=at - 0.5,
    )


def told(path: Path, seen: Sequence[Observation]) -> float:
    """Return how many observations a second of CPU time takes, in all threads."""
    with opened(path, LIMITS) as ledger:
        begin = time.process_time()
        for each in seen:
            ledger.record(each)
        ledger.flush()
        seconds = time.process_time() - begin
        if ledger.dropped:
            raise RuntimeError(f"the ledger dropped {ledger.dropped} of {len(seen)} observations")
    return len(seen) / seconds


def plain(path: Path, seen: Sequence[Observation]) -> float:
    """Return how many rows a second of CPU time SQLite takes with nothing else to do."""
    texts = ", ".join(f"t{number} INTEGER" for number in range(COLUMNS - 4))
    rows = [
        (bytes.fromhex(each.key.action.hash), b"o" * 16, each.at, each.seconds, *range(COLUMNS - 4))
        for each in seen
    ]
    insert = f"INSERT INTO plain VALUES ({', '.join('?' * COLUMNS)})"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"CREATE TABLE plain (action BLOB, outcome BLOB, at, seconds, {texts})")
        connection.execute("CREATE INDEX plain_at ON plain (at)")
        begin = time.process_time()
        for start in range(0, len(rows), IN_ONE_TRANSACTION):
            connection.execute("BEGIN")
            connection.executemany(insert, rows[start : start + IN_ONE_TRANSACTION])
            connection.execute("COMMIT")
        return len(rows) / (time.process_time() - begin)


def hit_nanoseconds(path: Path, seen: Sequence[Observation]) -> float:
    """Return what telling of a hit takes its caller, the loop around it included."""
    keys = list(dict.fromkeys(each.key for each in seen))[:MAX_HITS]
    with opened(path, LIMITS) as ledger:
        passes = []
        for _ in range(HIT_PASSES):
            begin = time.thread_time()
            for key in keys:
                ledger.hit(key)
            passes.append(time.thread_time() - begin)
        return median(passes) / len(keys) * 1e9
