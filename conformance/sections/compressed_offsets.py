"""Where compressed writes begin: offsets into the uncompressed blob."""

from __future__ import annotations

from conformance import needs
from conformance.check import MUST, Section
from conformance.compressing import announced
from conformance.target import Target, unique
from conformance.unfinished import break_off, status
from conformance.violation import NotApplicable, expect, refused

check = Section("compression", (needs.cache, needs.compression))

BLOB_BYTES = 2 << 20
SOURCE = "ContentAddressableStorage, l.262-264; bytestream.proto, WriteRequest.write_offset"


@check(
    MUST,
    "A compressed write of what nobody has begun begins at write_offset 0; any other is an error, "
    "even where all bytes come.",
    source=SOURCE,
)
async def compressed_writes_begin_at_zero(target: Target) -> None:
    for codec in announced(target):
        for offset in (500, -1):
            data = unique(1000)
            name = target.write_name(target.digest(data), compressor=codec.name)
            with refused():
                await target.write(name, codec.compress(data), offset=offset)
            expect(not await target.has(target.digest(data)), f"{codec.name}: the blob is there")


@check(
    MUST,
    "A compressed write that broke off goes on where QueryWriteStatus says: at an offset of the "
    "uncompressed blob, with the rest of the blob, compressed anew.",
    source=SOURCE,
)
async def compressed_writes_go_on(target: Target) -> None:
    resumed = []
    for codec in announced(target):
        data = unique(BLOB_BYTES)
        digest, raw = target.digest(data), codec.compress(data)
        name = target.write_name(digest, compressor=codec.name)
        await break_off(target, name, raw[: len(raw) // 2])
        size, complete = await status(target, name)
        expect(not complete, f"{codec.name}: half a write is complete")
        said = f"{codec.name}: committed_size {size}, of {BLOB_BYTES} bytes and half of them sent"
        expect(0 <= size < BLOB_BYTES, said)
        await target.write(name, codec.compress(data[size:]), offset=size)
        expect(await target.fetch(digest) == data, f"{codec.name}: other bytes are read")
        if size:
            resumed.append(codec.name)
    if not resumed:
        raise NotApplicable("nothing is kept of a compressed write that broke off")
