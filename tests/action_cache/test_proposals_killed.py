"""SIGKILL while results are proposed: each is its writer's, or everyone's, and never both."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec

from tests.action_cache.proposing import LINE, NOBODYS
from tests.action_cache.stored import Stored, stored

ROUNDS = 4
LOAD_SECONDS = 0.6  # the longest load before a kill
HASH_BYTES = 16


def _killed_under_load(folder: Path, seed: int, chance: random.Random) -> dict[str, str]:
    """Have writers work, and kill them; return what everyone was answered, by action."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.action_cache.proposing", folder, str(seed)],
        stdout=subprocess.PIPE,
    ) as writer:
        assert writer.stdout is not None
        told = writer.stdout.read(LINE)
        time.sleep(chance.uniform(0, LOAD_SECONDS))
        os.kill(writer.pid, signal.SIGKILL)
        told += writer.stdout.read()
    assert writer.returncode == -signal.SIGKILL
    answers: dict[str, str] = {}
    for line in told.decode().splitlines():
        action, answer = line.split()
        if answer != NOBODYS:
            assert answers.setdefault(action, answer) == answer
    return answers


async def test_what_was_proposed_is_whole_after_sigkill(tmp_path: Path) -> None:
    chance = random.Random()
    acknowledged: dict[str, str] = {}
    for seed in range(ROUNDS):
        acknowledged |= _killed_under_load(tmp_path, seed, chance)
        with stored(tmp_path) as here:
            assert await _shared(here) >= acknowledged.items()
            _check(here)
    assert acknowledged


async def _shared(here: Stored) -> set[tuple[str, str]]:
    """Return what everyone is answered; fail if an action has that and proposals."""
    found: set[tuple[str, str]] = set()
    async for key, pin in here.results.pins():
        entry = await here.results.find(key)
        assert entry == pin.kept
        assert (await here.slot(key)).proposals == ()
        found.add((key.action.hash[:40], entry.result.output_files[0].digest.hash[:8]))
    return found


def _check(here: Stored) -> None:
    """Fail unless who refers to what, and the order, are what docs/storage.md says."""
    environment = here.store.environment
    proposals = environment.database("proposals")
    order = environment.database("proposal_order")
    referrers = environment.database("proposal_referrers", duplicates=True)
    expected_order: dict[bytes, bytes] = {}
    counts: Counter[bytes] = Counter()
    expected_referrers: set[tuple[bytes, bytes]] = set()
    with environment.read() as read:
        for key, value in read.cursor(db=proposals):
            _, _, (_, references), proposed, *_ = msgspec.msgpack.decode(value)
            for whose in (key[-HASH_BYTES:], bytes(HASH_BYTES)):
                place = whose + round(proposed * 1e6).to_bytes(8, "big") + key
                expected_order[place] = b""
                counts[whose] += 1
            expected_referrers |= {(blob, key) for blob in references}
        expected_order |= {whose: count.to_bytes(8, "big") for whose, count in counts.items()}
        assert dict(read.cursor(db=order)) == expected_order
        assert set(read.cursor(db=referrers)) == expected_referrers
