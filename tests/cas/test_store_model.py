"""Every store beside a dict: whatever is done to both, they answer alike."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cas.digest import Digest, DigestFunction
from cas.store import BlobNotFound, BlobStore, DigestMismatch
from tests.cas.disks import file_of, flip
from tests.cas.stores import KEPT, MIB, STORES, Make, in_chunks, noise

SIZES = [0, 1, 8, 9, 5000, 16 * 1024, 16 * 1024 + 1, MIB, MIB + 1]
BLOBS = {
    Digest.of(data, function): data
    for size in SIZES
    for seed in range(2)
    for data in [noise(size, seed)]
    for function in DigestFunction
}
EMPTY = {digest: data for digest, data in BLOBS.items() if digest.size == 0}
digests = strategies.sampled_from(sorted(BLOBS))
some_digests = strategies.lists(digests, max_size=12, unique=True)
cuts = strategies.sampled_from([1000, 70_000, MIB, 3 * MIB])


class StoreBesideDict(RuleBasedStateMachine):
    """What `store` holds is what was stored in `model` and not damaged since."""

    def __init__(self, make: Make) -> None:
        super().__init__()
        self.make = make
        self.model: dict[Digest, bytes] = dict(EMPTY)
        self.temporary = TemporaryDirectory()
        self.folder = Path(self.temporary.name)
        self.runner = asyncio.Runner()
        self.open()

    def open(self) -> None:
        self.closing = AsyncExitStack()
        self.store: BlobStore = self.runner.run(
            self.closing.enter_async_context(self.make(self.folder))
        )

    def teardown(self) -> None:
        self.runner.run(self.closing.aclose())
        self.runner.close()
        self.temporary.cleanup()

    @rule(digest=digests, cut=cuts)
    def write(self, digest: Digest, cut: int) -> None:
        self.runner.run(self.store.write(digest, in_chunks(BLOBS[digest], cut)))
        self.model[digest] = BLOBS[digest]

    @rule(chosen=some_digests)
    def write_many(self, chosen: list[Digest]) -> None:
        blobs = {digest: BLOBS[digest] for digest in chosen}
        assert self.runner.run(self.store.write_many(blobs)) == {}
        self.model |= blobs

    @rule(digest=digests, other=digests)
    def write_something_else(self, digest: Digest, other: Digest) -> None:
        """Write the bytes of another: refused, unless the blob is there and they are not read."""
        try:
            self.runner.run(self.store.write_all(BLOBS[other], digest))
        except DigestMismatch:
            assert BLOBS[other] != BLOBS[digest]
        else:
            assert digest in self.model or BLOBS[other] == BLOBS[digest]
            self.model[digest] = BLOBS[digest]

    @rule(digest=digests, part=strategies.floats(0, 1))
    def read(self, digest: Digest, part: float) -> None:
        offset = int(part * digest.size)
        expected = self.model[digest][offset:] if digest in self.model else None
        assert self.runner.run(self._read(digest, offset)) == expected

    async def _read(self, digest: Digest, offset: int) -> bytes | None:
        try:
            return b"".join([chunk async for chunk in self.store.read(digest, offset=offset)])
        except BlobNotFound:
            return None

    @rule(chosen=some_digests)
    def read_many(self, chosen: list[Digest]) -> None:
        expected = {digest: self.model[digest] for digest in chosen if digest in self.model}
        assert self.runner.run(self.store.read_many(chosen)) == expected

    @rule(chosen=some_digests)
    def find_missing(self, chosen: list[Digest]) -> None:
        missing = self.runner.run(self.store.find_missing(chosen))
        assert missing == set(chosen) - self.model.keys()

    @precondition(lambda self: self.make in KEPT)
    @rule()
    def reopen(self) -> None:
        self.runner.run(self.closing.aclose())
        self.open()

    @precondition(lambda self: self.make in KEPT)
    @rule(digest=digests, at=strategies.floats(0, 1, exclude_max=True))
    def corrupt(self, digest: Digest, at: float) -> None:
        """Damage a blob's file, if it has one, and let somebody find that out."""
        file = file_of(self.folder, digest)
        if file.exists():
            flip(file, int(at * file.stat().st_size))
            assert self.runner.run(self.store.read_many([digest])) == {}
            del self.model[digest]

    @precondition(lambda self: self.make in KEPT)
    @rule(digest=digests)
    def remove(self, digest: Digest) -> None:
        """Remove a blob's file, if it has one, and tell nobody."""
        file = file_of(self.folder, digest)
        if file.exists():
            file.unlink()
            del self.model[digest]


@pytest.mark.parametrize("make", STORES, ids=lambda make: make.__name__)
def test_a_store_answers_as_a_dict_does(make: Make) -> None:
    class Machine(StoreBesideDict):
        def __init__(self) -> None:
            super().__init__(make)

    run_state_machine_as_test(
        Machine, settings=settings(max_examples=8, stateful_step_count=20, deadline=None)
    )
