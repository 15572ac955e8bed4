"""Instance names in resource names."""

from __future__ import annotations

from conformance import methods, needs
from conformance.check import MUST, ROBUSTNESS, SHOULD, Section
from conformance.names import KEYWORDS
from conformance.refusal import BAD_INPUT, Refused
from conformance.target import Target, unique
from conformance.violation import expect, refused
from protos import bytestream_pb2 as bytestream

check = Section("bytestream", (needs.cache,))

HEADER = "build.bazel.remote.execution.v2.resource-name"


@check(
    MUST,
    "An instance name of several segments is understood in resource names.",
    source="ContentAddressableStorage, l.223-228",
    needs=[needs.several_segments],
)
async def instances_may_have_segments(target: Target) -> None:
    data = unique(1000)
    digest = target.digest(data)
    committed = await target.write(target.write_name(digest), data)
    expect(committed == len(data), f"committed_size {committed} for {len(data)} bytes")
    expect(await target.has(digest), "what was written is missing by its instance_name")
    expect(await target.fetch(digest) == data, "other bytes are read")


@check(
    SHOULD,
    "Names of an instance of which a segment is a keyword are refused.",
    source="ContentAddressableStorage, l.229-231",
)
async def keywords_are_no_segments(target: Target) -> None:
    digest = await target.put_one(unique())
    blob = target.read_name(digest)
    for keyword in KEYWORDS:
        with refused(*BAD_INPUT):
            await target.read(f"{keyword}/{blob}")


@check(
    ROBUSTNESS,
    "A header that repeats another resource name than the request's is refused, or not followed.",
    source="ContentAddressableStorage, l.328-335",
)
async def another_name_in_a_header_is_not_followed(target: Target) -> None:
    data, other = unique(), unique()
    names = [target.read_name(digest) for digest in await target.put(data, other)]
    request = bytestream.ReadRequest(resource_name=names[0])
    try:
        replies = await target.collect(methods.READ, request, metadata=[(HEADER, names[1])])
    except Refused as error:
        expect(error.code in BAD_INPUT, f"{error.code.name} was answered")
        return
    expect(b"".join(each.data for each in replies) == data, "the header's blob is read")
