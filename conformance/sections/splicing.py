"""SpliceBlob."""

from __future__ import annotations

from grpc import StatusCode

from conformance import methods, needs
from conformance.check import MUST, ROBUSTNESS, SHOULD, Section
from conformance.chunking import announced_chunking, split
from conformance.digests import key
from conformance.refusal import BAD_INPUT, Refused
from conformance.target import Target, unique
from conformance.violation import NotApplicable, expect, refused
from protos import remote_execution_pb2 as reapi

check = Section("chunking", (needs.cache,))

SPLICING = [needs.splicing]
SOURCE = "ContentAddressableStorage.SpliceBlob, l.527-536"
CHUNK_BYTES = 100_000
MANY = 50_000  # times that one chunk stands in a list


def _request(
    target: Target, blob: reapi.Digest, chunks: list[reapi.Digest]
) -> reapi.SpliceBlobRequest:
    return target.named(reapi.SpliceBlobRequest(blob_digest=blob, chunk_digests=chunks))


async def _splice(target: Target, blob: reapi.Digest, *chunks: reapi.Digest) -> reapi.Digest:
    reply = await target.call(methods.SPLICE_BLOB, _request(target, blob, list(chunks)))
    return reply.blob_digest


def _pieces(count: int = 3) -> list[bytes]:
    return [unique(CHUNK_BYTES + number) for number in range(count)]


@check(
    MUST,
    "SpliceBlob makes a blob of its chunks, and answers its digest.",
    source="ContentAddressableStorage.SpliceBlob; SpliceBlobResponse, l.2055-2059",
    needs=SPLICING,
)
async def chunks_become_a_blob(target: Target) -> None:
    pieces = _pieces()
    data = b"".join(pieces)
    spliced = await _splice(target, target.digest(data), *await target.put(*pieces))
    expect(key(spliced) == key(target.digest(data)), f"the answer is {spliced.hash}")
    expect(await target.fetch(target.digest(data)) == data, "other bytes are read")
    expect(await target.has(target.digest(data)), "the blob is missing")


@check(
    MUST,
    "SpliceBlob refuses chunks that are not the blob with INVALID_ARGUMENT, and stores nothing.",
    source=SOURCE,
    needs=SPLICING,
)
async def other_chunks_are_refused(target: Target) -> None:
    pieces = _pieces()
    named = target.digest(b"".join(pieces))
    first, second, third = await target.put(*pieces)
    for chunks in ((second, first, third), (first, second), (first, second, third, first)):
        with refused(StatusCode.INVALID_ARGUMENT):
            await _splice(target, named, *chunks)
        expect(not await target.has(named), "there is a blob under the wrong name now")


@check(
    MUST,
    "SpliceBlob refuses a right hash with a wrong size with INVALID_ARGUMENT.",
    source="Digest, l.1083-1085; ContentAddressableStorage.SpliceBlob, l.549-550",
    needs=SPLICING,
)
async def a_spliced_size_is_verified(target: Target) -> None:
    pieces = _pieces()
    right = target.digest(b"".join(pieces))
    wrong = reapi.Digest(hash=right.hash, size_bytes=right.size_bytes + 1)
    chunks = await target.put(*pieces)
    with refused(StatusCode.INVALID_ARGUMENT):
        await _splice(target, wrong, *chunks)
    expect(not await target.has(wrong), "there is a blob under the wrong size now")


@check(
    MUST,
    "SpliceBlob of a chunk that is not there is NOT_FOUND.",
    source="ContentAddressableStorage.SpliceBlob, l.546",
    needs=SPLICING,
)
async def absent_chunks_are_not_found(target: Target) -> None:
    pieces = _pieces()
    chunks = await target.put(*pieces[:-1])
    with refused(StatusCode.NOT_FOUND):
        named = target.digest(b"".join(pieces))
        await _splice(target, named, *chunks, target.digest(pieces[-1]))


@check(
    MUST,
    "SpliceBlob refuses a chunk whose size is wrong.",
    source="Digest, l.1083-1085",
    needs=SPLICING,
)
async def chunks_of_a_wrong_size_are_refused(target: Target) -> None:
    pieces = _pieces(2)
    first, second = await target.put(*pieces)
    wrong = reapi.Digest(hash=first.hash, size_bytes=first.size_bytes + 1)
    with refused():
        await _splice(target, target.digest(b"".join(pieces)), wrong, second)


@check(
    MUST,
    "SpliceBlob of a blob that is there already succeeds, or is ALREADY_EXISTS.",
    source="ContentAddressableStorage.SpliceBlob, l.530-532 and l.551-555",
    needs=SPLICING,
)
async def what_is_there_may_be_spliced(target: Target) -> None:
    pieces = _pieces()
    data = b"".join(pieces)
    await target.put_one(data)
    try:
        await _splice(target, target.digest(data), *await target.put(*pieces))
    except Refused as error:
        expect(error.code == StatusCode.ALREADY_EXISTS, f"{error.code.name} was answered")
    expect(await target.fetch(target.digest(data)) == data, "other bytes are read")


@check(
    MUST,
    "SpliceBlob takes a chunk that stands in the list many times.",
    source="SpliceBlobRequest.chunk_digests, l.2035-2037",
    needs=SPLICING,
)
async def chunks_may_be_repeated(target: Target) -> None:
    piece = unique(1000)
    data = piece * 300
    await _splice(target, target.digest(data), *[await target.put_one(piece)] * 300)
    expect(await target.fetch(target.digest(data)) == data, "other bytes are read")


@check(
    MUST,
    "SpliceBlob takes UNKNOWN and every announced chunking function.",
    source="ChunkingFunction, l.2192-2202",
    needs=SPLICING,
)
async def chunking_functions_are_taken(target: Target) -> None:
    for function in announced_chunking(target):
        data = unique(1000)
        request = _request(target, target.digest(data), [await target.put_one(data)])
        request.chunking_function = function
        try:
            await target.call(methods.SPLICE_BLOB, request)
        except Refused as error:
            expect(error.code == StatusCode.ALREADY_EXISTS, f"{error.code.name} was answered")


@check(
    MUST,
    "A blob that was spliced can be split: into those chunks or into others.",
    source="ContentAddressableStorage.SplitBlob, l.457-461",
    needs=[needs.splicing, needs.splitting],
)
async def what_was_spliced_is_split(target: Target) -> None:
    pieces = _pieces()
    data = b"".join(pieces)
    await _splice(target, target.digest(data), *await target.put(*pieces))
    reply = await split(target, target.digest(data))
    joined = b"".join([await target.fetch(chunk) for chunk in reply.chunk_digests])
    expect(joined == data, "the chunks are not the blob")


@check(
    SHOULD,
    "SpliceBlob infers the digest function from the hash's length if it is not named.",
    source="SpliceBlobRequest.digest_function, l.2039-2046",
    needs=SPLICING,
)
async def splicing_needs_no_named_function(target: Target) -> None:
    if not target.function.inferred:
        raise NotApplicable(f"{target.function.name} has to be named")
    pieces = _pieces()
    data = b"".join(pieces)
    request = reapi.SpliceBlobRequest(
        instance_name=target.instance,
        blob_digest=target.digest(data),
        chunk_digests=await target.put(*pieces),
    )
    await target.call(methods.SPLICE_BLOB, request)
    expect(await target.has(target.digest(data)), "the blob is missing")


@check(
    MUST,
    "A server that does not announce splice_blob_support does not serve SpliceBlob.",
    source="ContentAddressableStorage.SpliceBlob, l.520-523",
    needs=[needs.no_splicing],
)
async def splicing_is_announced(target: Target) -> None:
    pieces = _pieces()
    with refused():
        named = target.digest(b"".join(pieces))
        await _splice(target, named, *await target.put(*pieces))


@check(
    ROBUSTNESS,
    "SpliceBlob takes the empty blob for a chunk, or refuses it.",
    source="SpliceBlobRequest.chunk_digests, l.2035-2037",
    needs=SPLICING,
)
async def a_chunk_may_be_empty(target: Target) -> None:
    data = unique(1000)
    chunks = (
        target.digest(b""),
        await target.put_one(data[:500]),
        await target.put_one(data[500:]),
    )
    try:
        await _splice(target, target.digest(data), *chunks)
    except Refused as error:
        expect(error.code in BAD_INPUT, f"{error.code.name} was answered")
        return
    expect(await target.fetch(target.digest(data)) == data, "other bytes are read")


@check(
    ROBUSTNESS,
    "SpliceBlob without the blob's digest is refused.",
    source="SpliceBlobRequest.blob_digest, l.2021-2033",
    needs=SPLICING,
)
async def the_spliced_blob_is_named(target: Target) -> None:
    chunks = await target.put(*_pieces())
    request = target.named(reapi.SpliceBlobRequest(chunk_digests=chunks))
    with refused(*BAD_INPUT):
        await target.call(methods.SPLICE_BLOB, request)


@check(
    ROBUSTNESS,
    "SpliceBlob of 50,000 chunks of 1 MB where the name says 1000 bytes is refused, and not made.",
    source=SOURCE,
    needs=SPLICING,
    seconds=60.0,
)
async def chunks_are_not_joined_beyond_the_size(target: Target) -> None:
    chunk = await target.put_one(unique(1_000_000))
    named = target.digest(unique(1000))
    with refused(*BAD_INPUT):
        await _splice(target, named, *[chunk] * MANY)


@check(
    ROBUSTNESS,
    "SpliceBlob of no chunks is the empty blob, and no other.",
    source="SpliceBlobRequest.chunk_digests, l.2035-2037",
    needs=SPLICING,
)
async def no_chunks_are_the_empty_blob(target: Target) -> None:
    with refused(*BAD_INPUT):
        await _splice(target, target.digest(unique()))
    try:
        await _splice(target, target.digest(b""))
    except Refused as error:
        expect(error.code in BAD_INPUT, f"{error.code.name} was answered")
