"""A process in which writers propose results as fast as they can, and name what they were answered.

python -m tests.action_cache.proposing FOLDER SEED
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from itertools import count
from pathlib import Path

from action_cache.mode import Mode
from determinism.judge import Judge
from tests.action_cache.stored import Stored, action, stored

WRITERS = [f"writer {number}" for number in range(6)]
ACTIONS = 40  # that the writers work on at one time
OUTPUTS = [b"1", b"2", b"3" * 5000]
CONFIRMATIONS = 3
NOBODYS = "-"  # in place of what everyone is answered
LINE = 64  # bytes of each report: one line, written at once


async def _work(here: Stored, judge: Judge, writer: str, seed: int) -> None:
    chance = random.Random(f"{seed} {writer}")
    for number in count(seed * 1_000_000):
        key = action(number - number % ACTIONS + chance.randrange(ACTIONS))
        output = chance.choice(OUTPUTS)
        kept = await here.kept(output, worker=writer)
        if chance.random() < 0.1:
            shared = (await judge.settle(key, kept, Mode.PIN)).slot.entry
        else:
            proposed = await judge.propose(
                key, kept, Mode.PIN, writer=writer, confirmations=CONFIRMATIONS
            )
            shared = proposed.slot.entry
        answer = NOBODYS if shared is None else shared.result.output_files[0].digest.hash[:8]
        said = f"{key.action.hash[:40]} {answer}"
        os.write(sys.stdout.fileno(), said.ljust(LINE - 1).encode() + b"\n")


async def _main(folder: Path, seed: int) -> None:
    with stored(folder) as here:
        judge = Judge(here.results)
        async with asyncio.TaskGroup() as tasks:
            for writer in WRITERS:
                tasks.create_task(_work(here, judge, writer, seed))


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2])))
