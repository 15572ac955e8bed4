from __future__ import annotations

from cas.digest import Digest
from cas.memory import MemoryStore
from cas.prefetched import MAX_BYTES, PrefetchedStore, prefetched


async def filled(*blobs: bytes) -> tuple[MemoryStore, list[Digest]]:
    store = MemoryStore()
    for blob in blobs:
        await store.write_all(blob, Digest.of(blob))
    return store, [Digest.of(blob) for blob in blobs]


async def test_what_was_read_ahead_is_read_from_memory() -> None:
    inner, (first, second) = await filled(b"first", b"second")
    ahead = await prefetched(inner, [first])
    assert await PrefetchedStore(MemoryStore(), {first: b"first"}).read_all(first) == b"first"
    assert [chunk async for chunk in ahead.read(first, offset=2)] == [b"rst"]
    assert [chunk async for chunk in ahead.read(first, offset=5)] == []
    assert await ahead.read_many([first, second]) == {first: b"first", second: b"second"}
    assert await ahead.read_all(second) == b"second"


async def test_large_and_missing_blobs_are_left_to_the_store() -> None:
    large = bytes(MAX_BYTES + 1)
    inner, (named,) = await filled(large)
    ahead = await prefetched(inner, [named, Digest.of(b"missing")])
    assert await ahead.read_all(named) == large
    assert await ahead.find_missing([Digest.of(b"missing")]) == {Digest.of(b"missing")}
