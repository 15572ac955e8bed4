"""ByteStream.QueryWriteStatus, and writes that go on where an earlier one ended."""

from __future__ import annotations

from conformance import needs
from conformance.check import MUST, SHOULD, Section
from conformance.target import Target, unique
from conformance.unfinished import break_off, known, status
from conformance.violation import expect, refused

check = Section("bytestream", (needs.cache,))

BLOB_BYTES = 1 << 20


@check(
    MUST,
    "QueryWriteStatus of what nobody has begun is NOT_FOUND, or 0 bytes and not complete.",
    source="bytestream.proto, QueryWriteStatus",
)
async def nothing_begun_is_nothing_committed(target: Target) -> None:
    size, complete = await status(target, target.write_name(target.digest(unique())))
    expect(not complete, "a write that nobody has begun is complete")
    expect(size == 0, f"committed_size {size} of a write that nobody has begun")


@check(
    MUST,
    "QueryWriteStatus of a finished write is complete, with all bytes committed, or NOT_FOUND "
    "where it is forgotten.",
    source="bytestream.proto, QueryWriteStatus and QueryWriteStatusResponse.complete",
)
async def a_finished_write_is_complete(target: Target) -> None:
    data = unique(5000)
    name = target.write_name(target.digest(data))
    await target.write(name, data)
    said = await known(target, name)
    if said is None:
        return
    size, complete = said
    expect(complete, "the write was finished, and is not complete")
    expect(size == len(data), f"committed_size {size} of {len(data)}")


@check(
    SHOULD,
    "QueryWriteStatus under a new name of a blob that is there is complete.",
    source="ContentAddressableStorage, l.277-283; bytestream.proto, QueryWriteStatus",
)
async def what_is_there_is_complete(target: Target) -> None:
    digest = await target.put_one(unique(5000))
    size, complete = await status(target, target.write_name(digest))
    expect(complete, "the blob is there, and a write of it is not complete")
    expect(size == digest.size_bytes, f"committed_size {size} of {digest.size_bytes}")


@check(
    MUST,
    "Write that broke off goes on where QueryWriteStatus says, and the blob is whole.",
    source="bytestream.proto, Write and WriteRequest.write_offset",
)
async def a_write_goes_on(target: Target) -> None:
    data = unique(BLOB_BYTES)
    digest = target.digest(data)
    name = target.write_name(digest)
    await break_off(target, name, data[: BLOB_BYTES // 2])
    size, complete = await status(target, name)
    expect(not complete, "half a write is complete")
    expect(0 <= size <= BLOB_BYTES // 2, f"committed_size {size} of {BLOB_BYTES // 2} sent")
    committed = await target.write(name, data[size:], offset=size)
    expect(committed == BLOB_BYTES, f"committed_size {committed} of {BLOB_BYTES} in all")
    expect(await target.fetch(digest) == data, "other bytes are read")


@check(
    SHOULD,
    "Write that broke off need not be sent again whole: something of it is committed.",
    source="bytestream.proto, Write",
)
async def what_was_sent_is_kept(target: Target) -> None:
    data = unique(BLOB_BYTES)
    name = target.write_name(target.digest(data))
    await break_off(target, name, data[: BLOB_BYTES // 2])
    size, _ = await status(target, name)
    expect(size > 0, "nothing is committed of the half that was sent")


@check(
    MUST,
    "Write that broke off can be begun again from 0.",
    source="bytestream.proto, WriteRequest.write_offset",
)
async def a_write_may_begin_again(target: Target) -> None:
    data = unique(BLOB_BYTES)
    digest = target.digest(data)
    name = target.write_name(digest)
    await break_off(target, name, data[: BLOB_BYTES // 2])
    again = target.write_name(digest)
    committed = await target.write(again, data)
    expect(committed == BLOB_BYTES, f"committed_size {committed} of {BLOB_BYTES}")
    expect(await target.fetch(digest) == data, "other bytes are read")


@check(
    MUST,
    "Write does not go on behind what is committed: such an offset is an error.",
    source="bytestream.proto, WriteRequest.write_offset",
)
async def a_write_leaves_no_hole(target: Target) -> None:
    data = unique(BLOB_BYTES)
    digest = target.digest(data)
    name = target.write_name(digest)
    await break_off(target, name, data[: BLOB_BYTES // 2])
    with refused():
        beyond = BLOB_BYTES // 2 + 1
        await target.write(name, data[beyond:], offset=beyond)
    expect(not await target.has(digest), "a blob with a hole in it is there")


@check(
    MUST,
    "QueryWriteStatus never takes back what it said to be committed.",
    source="bytestream.proto, QueryWriteStatus",
)
async def committed_bytes_stay_committed(target: Target) -> None:
    data = unique(BLOB_BYTES)
    name = target.write_name(target.digest(data))
    await break_off(target, name, data[: BLOB_BYTES // 2])
    sizes = [(await status(target, name))[0] for _ in range(3)]
    await target.write(name, data[sizes[-1] :], offset=sizes[-1])
    if finished := await known(target, name):
        sizes.append(finished[0])
    expect(sizes == sorted(sizes), f"committed sizes one after the other: {sizes}")
