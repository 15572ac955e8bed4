"""ByteStream.Read of blobs as they are."""

from __future__ import annotations

from grpc import StatusCode

from conformance import methods, needs
from conformance.check import MUST, ROBUSTNESS, SHOULD, Section
from conformance.digests import key
from conformance.refusal import BAD_INPUT, Refused
from conformance.target import Target, unique
from conformance.violation import expect, refused
from protos import bytestream_pb2 as bytestream, remote_execution_pb2 as reapi

check = Section("bytestream", (needs.cache,))

LARGE_BYTES = 5 << 20  # more than one message of gRPC's default size takes
DEFAULT_MESSAGE_BYTES = 4 << 20


@check(
    MUST,
    "Read gives a blob's bytes under blobs/HASH/SIZE.",
    source="ContentAddressableStorage, l.294-298",
)
async def a_blob_is_read(target: Target) -> None:
    data = unique(5000)
    got = await target.read(target.read_name(await target.put_one(data)))
    expect(got == data, f"{len(got)} other bytes are read")


@check(
    MUST,
    "Read gives blobs that are larger than one message may be.",
    source="ContentAddressableStorage, l.291-292",
)
async def a_large_blob_is_read(target: Target) -> None:
    data = unique(LARGE_BYTES)
    name = target.read_name(await target.put_one(data))
    expect(await target.read(name) == data, "other bytes are read")


@check(
    SHOULD,
    "Read gives large blobs in messages that clients of gRPC's default limit take.",
    source="gRPC's default limit of 4 MiB on messages that are received",
)
async def pieces_fit_into_messages(target: Target) -> None:
    name = target.read_name(await target.put_one(unique(LARGE_BYTES)))
    replies = await target.collect(methods.READ, bytestream.ReadRequest(resource_name=name))
    largest = max(each.ByteSize() for each in replies)
    expect(largest <= DEFAULT_MESSAGE_BYTES, f"a message has {largest} bytes: over gRPC's 4 MiB")


@check(
    MUST,
    "Read of a blob that is not there is NOT_FOUND.",
    source="google/rpc/code.proto, NOT_FOUND; bytestream.proto, Errors",
)
async def an_absent_blob_is_not_found(target: Target) -> None:
    with refused(StatusCode.NOT_FOUND):
        await target.read(target.read_name(target.digest(unique())))


@check(
    MUST,
    "Read gives the empty blob, uploaded or not: no bytes, and no error.",
    source="ContentAddressableStorage, l.342-344",
)
async def the_empty_blob_is_read(target: Target) -> None:
    expect(await target.read(target.read_name(target.digest(b""))) == b"", "it has bytes")


@check(
    MUST,
    "Read refuses a right hash with a wrong size.",
    source="Digest, l.1083-1085",
)
async def a_wrong_size_is_refused(target: Target) -> None:
    stored = await target.put_one(unique())
    for size in (stored.size_bytes + 1, stored.size_bytes - 1, 0):
        wrong = reapi.Digest(hash=stored.hash, size_bytes=size)
        with refused():
            await target.read(target.read_name(wrong))


@check(
    MUST,
    "Read begins at read_offset.",
    source="bytestream.proto, ReadRequest.read_offset",
)
async def a_read_begins_at_its_offset(target: Target) -> None:
    data = unique(5000)
    name = target.read_name(await target.put_one(data))
    for offset in (1, 2500, 4999):
        got = await target.read(name, offset=offset)
        expect(got == data[offset:], f"{len(got)} bytes are read from {offset} on, of 5000")


@check(
    MUST,
    "Read gives no more than read_limit bytes, and all of them where there are so many.",
    source="bytestream.proto, ReadRequest.read_limit",
)
async def a_read_ends_at_its_limit(target: Target) -> None:
    data = unique(5000)
    name = target.read_name(await target.put_one(data))
    for offset, limit in ((0, 1), (0, 2500), (1000, 3000), (4000, 1000)):
        got = await target.read(name, offset=offset, limit=limit)
        said = f"{len(got)} bytes are read at {offset} with a limit of {limit}"
        expect(got == data[offset : offset + limit], said)


@check(
    MUST,
    "Read with a limit beyond the end gives what there is.",
    source="bytestream.proto, ReadRequest.read_limit",
)
async def a_limit_may_be_beyond_the_end(target: Target) -> None:
    data = unique(5000)
    name = target.read_name(await target.put_one(data))
    for limit in (5000, 5001, 1 << 40, (1 << 63) - 1):
        expect(await target.read(name, limit=limit) == data, f"limit {limit}: other bytes")
        rest = await target.read(name, offset=4000, limit=limit)
        expect(rest == data[4000:], f"offset 4000, limit {limit}: other bytes")


@check(
    SHOULD,
    "Read from the very end of a blob is empty: only offsets beyond it are errors.",
    source="bytestream.proto, ReadRequest.read_offset",
)
async def a_read_from_the_end_is_empty(target: Target) -> None:
    name = target.read_name(await target.put_one(unique(5000)))
    expect(await target.read(name, offset=5000) == b"", "there are bytes behind the end")


@check(
    MUST,
    "Read from beyond the end of a blob is OUT_OF_RANGE.",
    source="bytestream.proto, ReadRequest.read_offset",
)
async def an_offset_beyond_the_end_is_out_of_range(target: Target) -> None:
    name = target.read_name(await target.put_one(unique(5000)))
    with refused(StatusCode.OUT_OF_RANGE):
        await target.read(name, offset=5001)


@check(
    MUST,
    "Read with a negative read_offset is OUT_OF_RANGE.",
    source="bytestream.proto, ReadRequest.read_offset",
)
async def a_negative_offset_is_out_of_range(target: Target) -> None:
    name = target.read_name(await target.put_one(unique(5000)))
    with refused(StatusCode.OUT_OF_RANGE):
        await target.read(name, offset=-1)


@check(
    MUST,
    "Read with a negative read_limit is an error.",
    source="bytestream.proto, ReadRequest.read_limit",
)
async def a_negative_limit_is_refused(target: Target) -> None:
    name = target.read_name(await target.put_one(unique(5000)))
    with refused():
        await target.read(name, limit=-1)


@check(
    MUST,
    "Read never takes a name with a digest function in it for another blob: where the function "
    "must be named it is understood, elsewhere the name is refused or understood.",
    source="ContentAddressableStorage, l.235-240",
)
async def a_named_function_is_no_other_blob(target: Target) -> None:
    data = unique()
    digest = await target.put_one(data)
    prefix = f"{target.instance}/" if target.instance else ""
    name = f"{prefix}blobs/{target.function.name}/{digest.hash}/{digest.size_bytes}"
    try:
        got = await target.read(name)
    except Refused:
        expect(target.function.inferred, "the name of the digest function is not understood")
        return
    expect(got == data, "other bytes are read")


@check(
    ROBUSTNESS,
    "Read refuses names that are none, with the client's fault as the reason.",
    source="ContentAddressableStorage, l.294-298",
)
async def malformed_names_are_refused(target: Target) -> None:
    digest = await target.put_one(unique())
    prefix = f"{target.instance}/" if target.instance else ""
    for name in (
        "",
        "/",
        f"{prefix}blobs",
        f"{prefix}blobs/{digest.hash}",
        f"{prefix}blobs/{digest.hash}/",
        f"{prefix}blobs/{digest.hash}/x",
        f"{prefix}blobs/{digest.hash}/-1",
        f"{prefix}blobs/{digest.hash[:-1]}/{digest.size_bytes}",
        f"{prefix}blobs/../blobs/{digest.hash[1:]}/{digest.size_bytes}",
        f"{prefix}blobs/{digest.hash}/{1 << 70}",
        f"{prefix}compressed-blobs/{digest.hash}/{digest.size_bytes}",
        "\x00" * 10,
        "a/" * 2000,
    ):
        with refused(*BAD_INPUT):
            await target.read(name)


@check(
    ROBUSTNESS,
    "Read of a name in upper case is refused.",
    source="Digest.hash, l.1112-1114",
)
async def a_hash_in_upper_case_is_refused(target: Target) -> None:
    digest = await target.put_one(b"\x00" + unique())
    upper = reapi.Digest(hash=digest.hash.upper(), size_bytes=digest.size_bytes)
    if key(upper) != key(digest):
        with refused(*BAD_INPUT):
            await target.read(target.read_name(upper))


@check(
    MUST,
    "The header that repeats a request's resource name changes nothing.",
    source="ContentAddressableStorage, l.328-335",
)
async def the_resource_name_may_stand_in_a_header(target: Target) -> None:
    data = unique()
    name = target.read_name(await target.put_one(data))
    request = bytestream.ReadRequest(resource_name=name)
    header = ("build.bazel.remote.execution.v2.resource-name", name)
    replies = await target.collect(methods.READ, request, metadata=[header])
    expect(b"".join(each.data for each in replies) == data, "other bytes are read")


@check(
    ROBUSTNESS,
    "Read that the client leaves in the middle costs the server nothing but the rest.",
    source="bytestream.proto, Read",
)
async def reads_may_be_left(target: Target) -> None:
    name = target.read_name(await target.put_one(unique(LARGE_BYTES)))
    request = bytestream.ReadRequest(resource_name=name)
    for _ in range(20):
        replies = target.stream(methods.READ, request)
        await anext(replies)
        await replies.aclose()
    expect(len(await target.read(name)) == LARGE_BYTES, "the blob cannot be read any more")
