from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cas.chunks import FileChunks
from cas.digest import Digest, DigestFunction
from cas.store import BlobCorrupt, BlobNotFound, DigestMismatch, StoreFull
from re_client.blobs import FIND_DIGESTS, SINGLE_BYTES, RemoteStore
from re_client.connection import Connection
from re_client.source import KEPT_BYTES, SEGMENT_BYTES
from tests.re_client.shaky import QUICK, Shaky, shaky

MIB = 1 << 20


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


async def in_chunks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def collect(chunks: AsyncIterator[bytes], take: Callable[[bytes], object]) -> None:
    async for chunk in chunks:
        take(chunk)


@pytest.fixture
def server() -> Shaky:
    return Shaky()


@pytest.fixture
async def connection(server: Shaky) -> AsyncIterator[Connection]:
    async with shaky(server) as made:
        yield made


@pytest.fixture
async def store(connection: Connection) -> RemoteStore:
    return await RemoteStore.open(connection, "main")


def put(server: Shaky, data: bytes, function: DigestFunction = DigestFunction.SHA256) -> Digest:
    digest = Digest.of(data, function)
    server.blobs[str(digest)] = data
    return digest


@pytest.mark.parametrize("size", [1, SINGLE_BYTES, SINGLE_BYTES + 1, 5 * MIB + 3])
@pytest.mark.parametrize("chunk", [7_000, 3 * MIB])
async def test_a_blob_that_is_written_is_read_again(
    store: RemoteStore, server: Shaky, size: int, chunk: int
) -> None:
    data = noise(size)
    digest = Digest.of(data)
    await store.write(digest, in_chunks(data, chunk))
    assert server.blobs[str(digest)] == data
    assert await store.read_all(digest) == data
    offset = size // 2
    assert b"".join([each async for each in store.read(digest, offset=offset)]) == data[offset:]
    assert await store.find_missing([digest]) == set()


async def test_a_blob_in_memory_of_any_size_is_written(store: RemoteStore, server: Shaky) -> None:
    for data in (noise(10), noise(3 * MIB)):
        await store.write_all(data, Digest.of(data))
        assert server.blobs[str(Digest.of(data))] == data


async def test_the_function_stands_in_a_resource_name_only_where_it_must(
    store: RemoteStore, server: Shaky
) -> None:
    # REAPI rule: the digest function segment is there where a length does not tell.
    data = noise(2 * MIB)
    for function in DigestFunction:
        digest = Digest.of(data, function)
        await store.write(digest, in_chunks(data, MIB))
        named = function in {"blake3", "sha256tree", "gitsha1"}
        assert (f"{function}/{digest}" if named else str(digest)) in server.blobs
        assert await store.read_all(digest) == data


async def test_many_digests_are_asked_for_in_several_calls(
    store: RemoteStore, server: Shaky
) -> None:
    there = put(server, b"there")
    absent = {Digest.of(b"%d" % number) for number in range(FIND_DIGESTS + 5)}
    other = Digest.of(b"there", DigestFunction.SHA1)
    assert await store.find_missing([there, *absent, other]) == {*absent, other}
    assert server.calls.count("FindMissingBlobs") == 3


async def test_empty_blobs_are_there_and_never_asked_for(store: RemoteStore, server: Shaky) -> None:
    # REAPI rule: the empty blob of every digest function is always there.
    for function in DigestFunction:
        empty = Digest.of(b"", function)
        assert await store.find_missing([empty]) == set()
        assert await store.read_all(empty) == b""
        assert await store.read_many([empty]) == {empty: b""}
        await store.write_all(b"", empty)
        assert await store.write_many({empty: b""}) == {}
    assert server.calls == ["GetCapabilities"]


async def test_many_blobs_go_in_batches_within_the_announced_bound(server: Shaky) -> None:
    server.max_batch = 100_000
    blobs = [noise(size, size) for size in (40_000, 40_001, 40_002, 99_000, 200_000, 3)]
    named = {Digest.of(data): data for data in blobs}
    async with shaky(server) as connection:
        store = await RemoteStore.open(connection, "")
        assert await store.write_many(named) == {}
        assert await store.read_many([*named, Digest.of(b"absent")]) == named
    assert server.calls.count("BatchUpdateBlobs") == server.calls.count("BatchReadBlobs") == 3
    assert server.calls.count("Write") == 1
    assert len(server.blobs) == len(blobs)


async def test_an_absent_blob_is_not_found(store: RemoteStore) -> None:
    for data in (b"small", noise(2 * MIB)):
        with pytest.raises(BlobNotFound) as caught:
            await store.read_all(Digest.of(data))
        assert caught.value.digest == Digest.of(data)


@pytest.mark.parametrize("size", [10, 3 * MIB])
async def test_bytes_that_are_not_what_they_are_called_are_never_given_out_whole(
    store: RemoteStore, server: Shaky, size: int
) -> None:
    digest = put(server, noise(size))
    server.corrupts = True
    received: list[bytes] = []
    with pytest.raises(BlobNotFound):
        await collect(store.read(digest), received.append)
    assert len(b"".join(received)) < size
    assert await store.read_many([digest]) == {}


async def test_a_blob_that_is_too_short_is_corrupt(store: RemoteStore, server: Shaky) -> None:
    digest = Digest.of(noise(3 * MIB))
    server.blobs[str(digest)] = noise(3 * MIB)[:-1]
    with pytest.raises(BlobCorrupt):
        await store.read_all(digest)


async def test_a_full_store_is_told_as_such(store: RemoteStore, server: Shaky) -> None:
    server.full = True
    for data in (b"small", noise(2 * MIB)):
        with pytest.raises(StoreFull, match="no room"):
            await store.write_all(data, Digest.of(data))
    failed = await store.write_many({Digest.of(b"a"): b"a", Digest.of(b"b"): b"b"})
    assert {type(error) for error in failed.values()} == {StoreFull}


async def test_a_refusal_is_told_as_it_was_although_more_is_being_sent(
    store: RemoteStore, server: Shaky
) -> None:
    server.full = True
    data = noise(6 * MIB)
    for _ in range(20):
        with pytest.raises(StoreFull, match="no room"):
            await store.write(Digest.of(data), in_chunks(data, MIB))


async def test_calls_are_made_again_while_the_server_is_unavailable(
    store: RemoteStore, server: Shaky
) -> None:
    server.unavailable = QUICK.attempts - 1
    digest = Digest.of(b"data")
    await store.write_all(b"data", digest)
    server.unavailable = QUICK.attempts - 1
    assert await store.read_all(digest) == b"data"
    server.unavailable = QUICK.attempts
    with pytest.raises(ConnectionError, match="cannot be reached"):
        await store.find_missing([digest])


async def test_a_read_that_breaks_off_goes_on_where_it_was(
    store: RemoteStore, server: Shaky
) -> None:
    data = noise(4 * MIB)
    digest = put(server, data)
    server.cut_reads = [600_000, 0, 900_000, len(data) - 1_500_000]
    assert await store.read_all(digest) == data
    offsets = [call for call in server.calls if call.startswith("Read")]
    assert offsets == ["Read 0", "Read 600000", "Read 600000", "Read 1500000"]


async def test_a_blob_that_vanishes_while_it_is_read_is_corrupt(
    store: RemoteStore, server: Shaky
) -> None:
    digest = put(server, noise(4 * MIB))
    server.cut_reads = [2 * MIB]
    with pytest.raises(BlobCorrupt):
        await collect(store.read(digest), lambda chunk: server.blobs.clear())


async def test_a_write_that_breaks_off_goes_on_where_the_server_is(
    store: RemoteStore, server: Shaky
) -> None:
    data = noise(6 * MIB)
    server.cut_writes = [2 * MIB, 3 * MIB]
    await store.write(Digest.of(data), in_chunks(data, 100_000))
    assert server.blobs[str(Digest.of(data))] == data
    assert server.calls.count("Write") == 3


async def test_a_write_that_the_server_forgot_starts_again(
    store: RemoteStore, server: Shaky
) -> None:
    data = noise(6 * MIB)
    server.cut_writes, server.forgets = [3 * MIB], True
    await store.write(Digest.of(data), in_chunks(data, 100_000))
    assert server.blobs[str(Digest.of(data))] == data


async def test_a_file_larger_than_what_is_kept_in_memory_starts_again(
    store: RemoteStore, server: Shaky, tmp_path: Path
) -> None:
    data = noise(KEPT_BYTES + 4 * SEGMENT_BYTES)
    (tmp_path / "file").write_bytes(data)
    server.cut_writes, server.forgets = [len(data) - 1000], True
    await store.write(Digest.of(data), FileChunks(tmp_path / "file"))
    assert server.blobs[str(Digest.of(data))] == data


async def test_a_stream_larger_than_what_is_kept_in_memory_cannot_start_again(
    store: RemoteStore, server: Shaky
) -> None:
    data = noise(KEPT_BYTES + 4 * SEGMENT_BYTES)
    server.cut_writes, server.forgets = [len(data) - 1000], True
    with pytest.raises(ConnectionError, match="broke off"):
        await store.write(Digest.of(data), in_chunks(data, MIB))


async def test_a_write_ends_at_once_where_the_blob_is_there(
    store: RemoteStore, server: Shaky
) -> None:
    # REAPI rule: the upload of a blob that is there is answered at once, with its whole size.
    server.early = True
    data = noise(64 * MIB)
    await store.write(Digest.of(data), in_chunks(data, MIB))


async def test_a_write_whose_source_fails_is_not_finished(
    store: RemoteStore, server: Shaky
) -> None:
    data = noise(6 * MIB)

    async def cut_short() -> AsyncIterator[bytes]:
        yield data[: 3 * MIB]
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        await store.write(Digest.of(data), cut_short())
    assert server.blobs == {}


async def test_small_bytes_that_are_not_the_digests_are_refused_before_they_are_sent(
    store: RemoteStore, server: Shaky
) -> None:
    digest = Digest.of(b"right")
    for data in (b"wrong", b"longer", b""):
        with pytest.raises(DigestMismatch) as caught:
            await store.write(digest, in_chunks(data, 2))
        assert caught.value.found == Digest.of(data)
    assert server.blobs == {}


async def test_a_reader_that_leaves_early_leaves_nothing_behind(
    store: RemoteStore, server: Shaky
) -> None:
    digest = put(server, noise(8 * MIB))
    reader = store.read(digest)
    assert await anext(reader)
    await reader.aclose()  # type: ignore[attr-defined]  # every generator has it
