"""What BlobStore's docstrings say, sentence by sentence, of every store."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import pytest

from cas.digest import EMPTY_HASHES, Digest, DigestFunction
from cas.store import BlobNotFound, BlobStore, DigestMismatch
from tests.cas.stores import MIB, STORES, Make, in_chunks, named, noise

HELLO = b"hello"
EMPTY = named(b"")
ABSENT = named(b"nobody wrote this")
# A few bytes, the largest inline blob and one more, one chunk of a file less one, exact, and more.
SIZES = [1, 8, 9, 16 * 1024, 16 * 1024 + 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB + 7]
ROOT = Path(__file__).parents[2]
PRODUCT = ["cas", "action_cache", "determinism", "scheduler", "re_client", "re_config", "worker",
           "re_server", "re_cli"]  # fmt: skip


@pytest.fixture(params=STORES, ids=lambda make: make.__name__)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobStore]:
    make: Make = request.param
    async with make(tmp_path) as made:
        yield made


async def test_find_missing_returns_what_read_would_not_find(store: BlobStore) -> None:
    blobs = {named(data): data for data in (noise(size) for size in SIZES[:6])}
    await store.write_many(blobs)
    assert await store.find_missing([*blobs, ABSENT]) == {ABSENT}
    for digest, data in blobs.items():
        assert await store.read_all(digest) == data
    with pytest.raises(BlobNotFound):
        await store.read_all(ABSENT)


async def test_find_missing_of_nothing_is_nothing(store: BlobStore) -> None:
    assert await store.find_missing([]) == set()


async def test_find_missing_takes_any_iterable_and_repeated_digests(store: BlobStore) -> None:
    await store.write_all(HELLO, named(HELLO))
    asked = [ABSENT, named(HELLO), ABSENT, named(HELLO)]
    assert await store.find_missing(iter(asked)) == {ABSENT}


async def test_find_missing_of_many(store: BlobStore) -> None:
    blobs = {named(data): data for data in (b"%d" % number * 5 for number in range(300))}
    others = [named(b"other %d" % number) for number in range(300)]
    assert await store.write_many(blobs) == {}
    assert await store.find_missing([*blobs, *others]) == set(others)


@pytest.mark.parametrize("size", SIZES)
async def test_read_yields_the_bytes_from_offset_on(store: BlobStore, size: int) -> None:
    data = noise(size)
    await store.write(named(data), in_chunks(data, 100_000))
    offsets = {0, 1, size // 2, size - 1, size, MIB - 1, MIB, MIB + 1, 2 * MIB}
    for offset in sorted(offset for offset in offsets if offset <= size):
        chunks = [chunk async for chunk in store.read(named(data), offset=offset)]
        assert b"".join(chunks) == data[offset:]
        assert all(chunks)


@pytest.mark.parametrize("offset", [0, 3])
async def test_read_raises_blob_not_found_before_the_first_chunk(
    store: BlobStore, offset: int
) -> None:
    with pytest.raises(BlobNotFound) as told:
        await anext(store.read(ABSENT, offset=offset))
    assert told.value.digest == ABSENT


async def test_read_can_be_closed_before_its_end(store: BlobStore) -> None:
    data = noise(3 * MIB)
    await store.write_all(data, named(data))
    async for chunk in store.read(named(data)):
        assert data.startswith(chunk)
        break
    assert await store.read_all(named(data)) == data


@pytest.mark.parametrize("size", SIZES)
async def test_write_keeps_chunks_of_any_cut(store: BlobStore, size: int) -> None:
    for seed, cut in enumerate([max(1, size // 7), MIB + 3, size]):
        data = noise(size, seed)
        await store.write(named(data), in_chunks(data, cut))
        assert await store.read_all(named(data)) == data


async def test_write_passes_over_empty_chunks(store: BlobStore) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for part in [b"", b"hel", b"", b"lo", b""]:
            yield part

    await store.write(named(HELLO), chunks())
    assert await store.read_all(named(HELLO)) == HELLO


@pytest.mark.parametrize("size", [5, 20_000, 3 * MIB])
@pytest.mark.parametrize("error", [ConnectionError, ValueError, TimeoutError])
async def test_write_that_fails_keeps_nothing_and_raises_what_the_chunks_raised(
    store: BlobStore, size: int, error: type[Exception]
) -> None:
    data = noise(size)

    async def cut_short() -> AsyncIterator[bytes]:
        yield data[: size // 2]
        raise error

    with pytest.raises(error):
        await store.write(named(data), cut_short())
    assert await store.find_missing([named(data)]) == {named(data)}
    await store.write_all(data, named(data))
    assert await store.read_all(named(data)) == data


@pytest.mark.parametrize("size", [5, 20_000, 3 * MIB])
async def test_write_that_is_cancelled_keeps_nothing(store: BlobStore, size: int) -> None:
    data = noise(size)
    begun = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield data[:-1]
        begun.set()
        await asyncio.Event().wait()

    writing = asyncio.create_task(store.write(named(data), stuck()))
    await begun.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await store.find_missing([named(data)]) == {named(data)}


@pytest.mark.parametrize("size", [5, 9, 20_000, 2 * MIB + 1])
@pytest.mark.parametrize("fault", ["other", "short", "long", "none"])
async def test_write_refuses_bytes_that_are_not_the_digests(
    store: BlobStore, size: int, fault: str
) -> None:
    # REAPI rule: the size is part of the name; bytes that do not match it are refused.
    data = noise(size)
    given = {
        "other": noise(size, 1),
        "short": data[:-1],
        "long": data + b"!",
        "none": b"",
    }[fault]
    with pytest.raises(DigestMismatch) as told:
        await store.write(named(data), in_chunks(given, 10_000))
    assert told.value.expected == named(data)
    assert told.value.found != named(data)
    assert await store.find_missing([named(data)]) == {named(data)}
    with pytest.raises(BlobNotFound):
        await store.read_all(named(data))


async def test_write_refuses_the_right_hash_with_another_size(store: BlobStore) -> None:
    # REAPI rule: the right hash with a wrong size must be rejected.
    await store.write_all(HELLO, named(HELLO))
    for size in [0, 4, 6, 20_000]:
        wrong = named(HELLO)._replace(size=size)
        assert await store.find_missing([wrong]) == {wrong}
        with pytest.raises(DigestMismatch):
            await store.write_all(HELLO, wrong)
        with pytest.raises(BlobNotFound):
            await store.read_all(wrong)


@pytest.mark.parametrize("size", [5, 20_000, 2 * MIB])
async def test_a_blob_that_is_there_is_kept_as_it_is(store: BlobStore, size: int) -> None:
    data = noise(size)
    await store.write_all(data, named(data))
    await store.write_all(data, named(data))
    assert await store.read_all(named(data)) == data


@pytest.mark.parametrize("function", DigestFunction)
async def test_the_empty_blob_is_always_there(store: BlobStore, function: DigestFunction) -> None:
    # REAPI rule: the empty blob is always present, for each digest function.
    empty = Digest(EMPTY_HASHES[function], 0, function)
    for _ in range(2):
        assert await store.find_missing([empty]) == set()
        assert [chunk async for chunk in store.read(empty)] == []
        assert await store.read_all(empty) == b""
        assert await store.read_many([empty]) == {empty: b""}
        assert await store.write_many({empty: b""}) == {}
        await store.write(empty, in_chunks(b"", 1))


@pytest.mark.parametrize("size", [5, 20_000])
async def test_digest_functions_are_key_spaces_apart(store: BlobStore, size: int) -> None:
    # REAPI rule: functions whose hashes have one length need key spaces of their own.
    data = noise(size)
    names = [named(data, function) for function in DigestFunction]
    for number, name in enumerate(names):
        await store.write_all(data, name)
        assert await store.find_missing(names) == set(names[number + 1 :])
    for name in names:
        assert await store.read_all(name) == data
    swapped = names[0]._replace(function=DigestFunction.BLAKE3)
    assert await store.find_missing([swapped]) == {swapped}
    with pytest.raises(DigestMismatch):
        await store.write_all(data, swapped)


@pytest.mark.parametrize("function", DigestFunction)
@pytest.mark.parametrize("size", [5, 20_000])
async def test_a_right_hash_with_another_size_is_no_blob(
    store: BlobStore, size: int, function: DigestFunction
) -> None:
    data = noise(size)
    for other in (size - 1, size + 1):
        false = named(data, function)._replace(size=other)
        with pytest.raises(DigestMismatch):
            await store.write(false, in_chunks(data, 3000))
        assert await store.find_missing([false]) == {false}


async def test_read_many_returns_those_that_are_there(store: BlobStore) -> None:
    blobs = {named(data): data for data in (noise(size) for size in SIZES[:6])}
    await store.write_many(blobs)
    asked: Collection[Digest] = [*blobs, ABSENT, *blobs]
    assert await store.read_many(asked) == blobs
    assert await store.read_many([]) == {}
    assert await store.read_many([ABSENT]) == {}


async def test_read_joined_returns_those_that_are_there_in_one_string(store: BlobStore) -> None:
    blobs = {named(data): data for data in (noise(size) for size in SIZES[:6])}
    blobs[EMPTY] = b""
    await store.write_many(blobs)
    asked = [*blobs, ABSENT, named(noise(SIZES[0]))]

    def before(digest: Digest) -> bytes:
        return b"%s " % str(digest).encode()

    joined, missing = await store.read_joined(iter(asked), before)
    found: list[bytes] = []
    while joined:
        name, _, rest = joined.partition(b" ")
        size = int(name.rpartition(b"/")[2])
        found.append(name + b" " + rest[:size])
        joined = rest[size:]
    assert missing == [ABSENT]
    expected = [before(digest) + blobs[digest] for digest in asked if digest != ABSENT]
    assert sorted(found) == sorted(expected)
    assert await store.read_joined([], before) == (b"", [])


async def test_write_many_keeps_the_good_and_returns_what_is_wrong_with_the_others(
    store: BlobStore,
) -> None:
    # REAPI rule: errors of a batch are per blob.
    good = {named(data): data for data in (noise(size) for size in SIZES[:6])}
    bad = {named(noise(size, 1)): noise(size, 2) for size in SIZES[:6]}
    short = {named(noise(size, 3)): noise(size, 3)[:-1] for size in SIZES[:6]}
    long = {named(noise(size, 4)): noise(size, 4) + b"!" for size in SIZES[:6]}
    failed = await store.write_many(good | bad | short | long)
    assert failed.keys() == (bad | short | long).keys()
    assert all(isinstance(error, DigestMismatch) for error in failed.values())
    assert await store.find_missing([*good, *failed]) == failed.keys()
    assert await store.read_many([*good]) == good


@pytest.mark.parametrize("size", [5, 20_000, 2 * MIB + 1])
async def test_one_blob_can_be_written_by_many_at_once(store: BlobStore, size: int) -> None:
    data = noise(size)
    async with asyncio.TaskGroup() as tasks:
        for cut in [1_000_000, 300_000, size, 70_000, size]:
            tasks.create_task(store.write(named(data), in_chunks(data, cut)))
        for _ in range(5):
            tasks.create_task(store.write_many({named(data): data}))
    assert await store.read_all(named(data)) == data
    assert await store.find_missing([named(data)]) == set()


@pytest.mark.parametrize("size", [5, 20_000, 3 * MIB])
async def test_readers_beside_a_writer_get_all_or_nothing(store: BlobStore, size: int) -> None:
    data = noise(size)
    written = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        async for part in in_chunks(data, max(1, size // 5)):
            await asyncio.sleep(0)
            yield part

    async def write() -> None:
        await store.write(named(data), slowly())
        written.set()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(_reads_once_it_is_there(store, data, written))
        tasks.create_task(write())


async def _reads_once_it_is_there(store: BlobStore, data: bytes, written: asyncio.Event) -> None:
    """Read until there is something to read, which must be all, and be there once `written`."""
    while True:
        was_written = written.is_set()
        try:
            assert await store.read_all(named(data)) == data
        except BlobNotFound:
            assert not was_written
            await asyncio.sleep(0)
        else:
            return


def _stores_of_the_product() -> set[str]:
    """Return the names of all classes that derive from BlobStore, directly or not."""
    bases = {
        node.name: {ast.unparse(base).rpartition(".")[2] for base in node.bases}
        for package in PRODUCT
        for module in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    found = {"BlobStore"}
    while more := {name for name, over in bases.items() if over & found} - found:
        found |= more
    return found - {"BlobStore"}


async def test_no_store_is_left_out(tmp_path: Path) -> None:
    tested: set[str] = set()
    for make in STORES:
        async with make(tmp_path / make.__name__) as made:
            tested.add(type(made).__name__)
    assert tested == _stores_of_the_product()
