"""Measure Holdfast beside others: `python -m benchmarks.run --help`.

Figures depend on the machine and on what else it does: only those of one run compare.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from benchmarks import (
    bazel_warm,
    calls,
    canonical,
    compression,
    execution,
    ledger,
    load,
    memory,
    overload,
    peers,
    safety,
    start,
)
from benchmarks.corpus import MIB
from benchmarks.servers import BUILD
from benchmarks.table import Table, write_json

RESULTS = BUILD / "results.json"
QUICK_BLOBS = 5000
PACKAGES = ("grpcio", "uvloop", "protobuf", "lmdb")

Topic = Callable[[Path], list[Table]]

TOPICS: dict[str, Topic] = {
    "load": lambda folder: load.run(folder, calls.Size()),
    "execution": lambda folder: execution.run(folder, execution.Size()),
    "bazel": bazel_warm.run,
    "memory": memory.run,
    "start": start.run,
    "canonical": canonical.run,
    "ledger": ledger.run,
    "overload": lambda folder: overload.run(folder, overload.Size()),
    "compression": compression.run,
    "safety": safety.run,
}
QUICK: dict[str, Topic] = {
    "load": lambda folder: load.run(folder, calls.QUICK, with_peers=False),
    "execution": lambda folder: execution.run(folder, execution.QUICK),
    "bazel": lambda folder: bazel_warm.run(folder, rounds=1),
    "memory": lambda folder: memory.run(folder, stream_bytes=4 * MIB, with_peers=False),
    "start": lambda folder: start.run(folder, blobs=QUICK_BLOBS, rounds=1),
    "canonical": lambda folder: canonical.run(folder, functions=50, size=8 * MIB, rounds=1),
    "ledger": lambda folder: ledger.run(folder, observations=2000, rounds=1),
    "overload": lambda folder: overload.run(folder, overload.QUICK),
    "compression": lambda folder: compression.run(folder, functions=50, blobs=1, rounds=1),
    "safety": lambda folder: safety.run(folder, rounds=1, stream_bytes=2 * MIB, calls=50),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=TOPICS, action="append", help="a topic; may be repeated")
    parser.add_argument(
        "--quick", action="store_true", help="see that it works; figures mean little"
    )
    parser.add_argument(
        "--markdown", action="store_true", help="print the tables alone, as the README has them"
    )
    arguments = parser.parse_args()
    # Servers and folders go when the blocks that made them end, and so they do at a signal.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    topics = QUICK if arguments.quick else TOPICS
    about = machine()
    print("; ".join(f"{name}: {value}" for name, value in about.items()) + "\n")
    tables: list[Table] = []
    for name in arguments.only or topics:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        measured = in_folder(topics[name])
        print("\n".join(table.markdown() for table in measured), flush=True)
        tables += measured
        write_json(RESULTS, about, tables)
    if not arguments.markdown:
        print(f"written to {RESULTS}", file=sys.stderr)


def in_folder(topic: Topic) -> list[Table]:
    """Measure in a folder that is removed afterwards."""
    BUILD.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=BUILD))
    try:
        return topic(folder)
    finally:
        shutil.rmtree(folder)


def machine() -> dict[str, str]:
    """Say what figures were measured on, with what, and how."""
    cpu = next(
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    return {
        "machine": f"{cpu}, {os.cpu_count()} cores, Linux {platform.release()}",
        "Python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "peers": f"{peers.BUILDGRID}, {peers.CASD}, {peers.BAZEL_REMOTE}",
        "command": " ".join(["python -m benchmarks.run", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    main()
