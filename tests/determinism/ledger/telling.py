"""A process that tells a ledger as fast as it can, and names what is certain to be written.

python -m tests.determinism.ledger.telling FOLDER FIRST
"""

from __future__ import annotations

import os
import sys
import time
from itertools import count
from pathlib import Path

from determinism.ledger.store import opened
from tests.determinism.ledger.seen import LIMITS, file, key, seen

LINE = 32  # bytes of each report
BURST = 50


def main(folder: Path, first: int) -> None:
    with opened(folder / "ledger.sqlite", LIMITS) as kept:
        for burst in count():
            for number in range(first + burst * BURST, first + (burst + 1) * BURST):
                kept.record(seen(f"{number}", {"out": f"{number}"}, at=time.time()))
                kept.consumed(key(f"{number}"), [file(f"{number - 1}")])
                kept.hit(key(f"{number}"))
            kept.flush()
            told = f"{first + (burst + 1) * BURST - 1}"
            os.write(sys.stdout.fileno(), told.ljust(LINE - 1).encode() + b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
