"""The ledger: what was observed of every action, for those who tell it and those who ask."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path

from action_cache.results import ActionKey
from cas.digest import Digest
from determinism.difference import Attributed
from determinism.ledger.attributing import attribute, learn
from determinism.ledger.intake import MAX_HITS, Entry, Intake
from determinism.ledger.learned import NOTHING
from determinism.ledger.observing import MAX_CONSUMED, audit, consume, observe
from determinism.ledger.reading import Reading
from determinism.ledger.retention import LedgerLimits
from determinism.ledger.totals import Coverage, Totals
from determinism.ledger.writer import Clock, Writer
from determinism.observation import Observation


class Ledger:
    """What is told is written in the background; what is asked is read in threads.

    All that tells returns at once, and is passed over, and counted, where too much waits or the
    disk is full. After a clean end all of it is in the file; after SIGKILL the last fraction of a
    second is not. groups, counts, explain, actions_of and generated are those of
    determinism.ledger.reading.Reading; they know all that was told before.
    """

    def __init__(self, writer: Writer, intake: Intake, reading: Reading, clock: Clock) -> None:
        self._intake = intake
        self._clock = clock
        self._writer = writer
        # Numbers that no earlier process gave, though the file may not have been opened yet.
        self._numbers = count(int(clock() * 1e6))
        self.groups = reading.groups
        self.counts = reading.counts
        self.explain = reading.explain
        self.actions_of = reading.actions_of
        self.generated = reading.generated

    @property
    def recorded(self) -> int:
        """Entries that were written: observations, attributions, inputs, audits."""
        return self._writer.recorded

    @property
    def dropped(self) -> int:
        """Entries and hits that were not written, for want of room or since they cannot be."""
        return self._writer.dropped + self._intake.dropped

    def record(self, observation: Observation) -> int:
        """Keep an observation; return its number."""
        number = next(self._numbers)
        rows = 2 + 4 * len(observation.outcome.outputs) + len(observation.references)
        self._intake.put(Entry(partial(observe, number=number, seen=observation), rows))
        return number

    def attributed(self, number: int, differences: Sequence[Attributed], *, latent: bool) -> None:
        """Keep how an observation differs, and why. latent: found by an audit, not in service."""
        write = partial(attribute, number=number, differences=tuple(differences), latent=latent)
        self._intake.put(Entry(write, 1 + len(differences)))

    def hit(self, key: ActionKey) -> None:
        """Note that the action was answered from the cache. Takes less than a microsecond."""
        hits = self._intake.hits
        if len(hits) < MAX_HITS:
            hits[key] = self._clock()
        else:
            self._intake.dropped += 1

    def consumed(self, key: ActionKey, digests: Iterable[Digest]) -> None:
        """Keep which files an action consumes; those that no known action made are left out."""
        inputs = tuple(digests)
        write = partial(consume, key=key, digests=inputs, at=self._clock())
        self._intake.put(Entry(write, 1 + min(len(inputs), MAX_CONSUMED)))

    def audited(self, key: ActionKey, *, differs: bool, runs: int, at: float) -> None:
        """Keep that an audit of the action has ended. at: seconds since 1970."""
        self._intake.put(Entry(partial(audit, key=key, differs=differs, runs=runs, at=at), 2))

    def learn(self, program: str, formats: Iterable[str]) -> None:
        """Keep `formats`, whose canonical forms would make outputs of `program` differ less."""
        if new := set(formats) - self.formats_for(program):
            self._intake.put(
                Entry(partial(learn, program=program, formats=new, at=self._clock()), 1)
            )

    def formats_for(self, program: str) -> frozenset[str]:
        """Return the formats that outputs of `program` were seen to differ in."""
        book = self._writer.book
        return book.learned.formats_for(program) if book else NOTHING

    def learned(self) -> set[tuple[str, str]]:
        """Return all pairs of a program and such a format."""
        book = self._writer.book
        return set(book.learned) if book else set()

    def totals(self) -> Totals:
        """Return the counts of all that was written."""
        book = self._writer.book
        return book.counters.totals() if book else Totals()

    def coverage(self) -> Coverage:
        """Return how much was audited, as of some seconds ago."""
        return self._writer.coverage

    def flush(self) -> None:
        """Wait until what was told so far is written, or dropped."""
        self._intake.wait().result()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Write during the block; at its end everything that waits."""
        self._writer.open()
        self._writer.thread.start()
        try:
            yield
        finally:
            self._intake.close()
            self._writer.thread.join()


@contextmanager
def opened(path: Path, limits: LedgerLimits, clock: Clock = time.time) -> Iterator[Ledger]:
    """Open the ledger in the file `path`, which is made if it is not there.

    A file that is damaged is set aside, and one that cannot be opened is tried again: neither
    raises. clock: seconds since 1970.
    """
    intake = Intake()
    with Reading(path, intake) as reading:
        ledger = Ledger(Writer(path, limits, intake, clock), intake, reading, clock)
        with ledger.running():
            yield ledger
