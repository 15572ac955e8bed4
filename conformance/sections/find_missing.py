"""FindMissingBlobs."""

from __future__ import annotations

from conformance import methods, needs
from conformance.check import MUST, ROBUSTNESS, SHOULD, Section
from conformance.digests import key
from conformance.refusal import BAD_INPUT, Refused
from conformance.target import Target, unique
from conformance.violation import NotApplicable, Violation, expect
from protos import remote_execution_pb2 as reapi

check = Section("cas", (needs.cache,))


@check(
    MUST,
    "FindMissingBlobs: the empty blob is there, uploaded or not.",
    source="ContentAddressableStorage, l.342-344",
)
async def the_empty_blob_is_not_missing(target: Target) -> None:
    expect(await target.has(target.digest(b"")), "the empty blob is reported as missing")


@check(
    MUST,
    "FindMissingBlobs reports what nobody uploaded.",
    source="FindMissingBlobsResponse, l.1802-1804",
)
async def absent_blobs_are_missing(target: Target) -> None:
    absent = [target.digest(unique()) for _ in range(3)]
    missing = await target.find_missing(*absent)
    expect(
        {key(each) for each in missing} == {key(each) for each in absent},
        "not exactly the absent blobs are reported as missing",
    )


@check(
    MUST,
    "FindMissingBlobs does not report what was uploaded a moment ago.",
    source="FindMissingBlobsResponse, l.1802-1804",
)
async def present_blobs_are_not_missing(target: Target) -> None:
    uploaded = await target.put(unique(), unique(1), unique(5000))
    missing = await target.find_missing(*uploaded)
    expect(not missing, f"{len(missing)} of 3 uploaded blobs are reported as missing")


@check(
    MUST,
    "FindMissingBlobs tells present from absent blobs of one request.",
    source="FindMissingBlobsResponse, l.1802-1804",
)
async def present_and_absent_are_told_apart(target: Target) -> None:
    present = await target.put(*[unique() for _ in range(5)])
    absent = [target.digest(unique()) for _ in range(5)]
    mixed = [digest for pair in zip(present, absent, strict=True) for digest in pair]
    missing = {key(each) for each in await target.find_missing(*mixed)}
    expect(missing == {key(each) for each in absent}, "present and absent blobs are mixed up")


@check(
    SHOULD,
    "FindMissingBlobs with no digests is answered with none.",
    source="ContentAddressableStorage.FindMissingBlobs, l.351-360",
)
async def nothing_asked_is_nothing_missing(target: Target) -> None:
    expect(not await target.find_missing(), "digests are reported that were not asked about")


@check(
    MUST,
    "FindMissingBlobs takes the size as a part of the name: a right hash with a wrong size is "
    "missing, or an error.",
    source="Digest, l.1083-1085",
)
async def a_wrong_size_is_missing(target: Target) -> None:
    stored = await target.put_one(unique())
    for size in (stored.size_bytes + 1, stored.size_bytes - 1, 0):
        wrong = reapi.Digest(hash=stored.hash, size_bytes=size)
        try:
            present = await target.has(wrong)
        except Refused:
            continue
        expect(not present, f"{stored.size_bytes} bytes are found under the size {size}")


@check(
    MUST,
    "FindMissingBlobs: a digest that is asked about twice is reported if it is missing, and not "
    "if it is there.",
    source="FindMissingBlobsResponse, l.1802-1804",
)
async def digests_may_be_repeated(target: Target) -> None:
    present, absent = await target.put_one(unique()), target.digest(unique())
    missing = await target.find_missing(absent, present, absent, present)
    expect({key(each) for each in missing} == {key(absent)}, "a repeated digest is misjudged")


@check(
    SHOULD,
    "FindMissingBlobs infers the digest function from the hash's length if it is not named.",
    source="FindMissingBlobsRequest.digest_function, l.1792-1799",
)
async def missing_blobs_need_no_named_function(target: Target) -> None:
    if not target.function.inferred:
        raise NotApplicable(f"{target.function.name} has to be named")
    present, absent = await target.put_one(unique()), target.digest(unique())
    request = reapi.FindMissingBlobsRequest(
        instance_name=target.instance, blob_digests=[present, absent]
    )
    reply = await target.call(methods.FIND_MISSING, request)
    missing = [key(each) for each in reply.missing_blob_digests]
    expect(missing == [key(absent)], "the answer is another than with the function named")


@check(
    SHOULD,
    "Hashes are in lower case: a blob is not found under its hash in upper case.",
    source="Digest.hash, l.1112-1114",
)
async def hashes_are_in_lower_case(target: Target) -> None:
    stored = await target.put_one(b"\x00" + unique())
    upper = reapi.Digest(hash=stored.hash.upper(), size_bytes=stored.size_bytes)
    try:
        present = await target.has(upper)
    except Refused:
        return
    expect(not present, "a hash in upper case is taken for the blob's name")


@check(
    ROBUSTNESS,
    "FindMissingBlobs: what is no digest at all is missing or refused, never there.",
    source="Digest, l.1080-1111",
)
async def malformed_digests_are_not_there(target: Target) -> None:
    good = target.digest(b"x")
    malformed = [
        reapi.Digest(hash="", size_bytes=1),
        reapi.Digest(hash=good.hash[:-1], size_bytes=1),
        reapi.Digest(hash=good.hash + "0", size_bytes=1),
        reapi.Digest(hash="z" * len(good.hash), size_bytes=1),
        reapi.Digest(hash="../" * 20, size_bytes=1),
        reapi.Digest(hash=good.hash[:-1] + "\x00", size_bytes=1),
        reapi.Digest(hash=good.hash, size_bytes=-1),
        reapi.Digest(hash=good.hash, size_bytes=-(1 << 63)),
        reapi.Digest(hash=good.hash, size_bytes=(1 << 63) - 1),
    ]
    for digest in malformed:
        try:
            present = await target.has(digest)
        except Refused as error:
            if error.code not in BAD_INPUT:
                raise Violation(
                    f"{error.code.name} was answered to {digest.hash!r}/{digest.size_bytes}"
                ) from None
            continue
        expect(not present, f"{digest.hash!r}/{digest.size_bytes} is said to be there")


@check(
    MUST,
    "FindMissingBlobs answers about thousands of blobs at once.",
    source="ContentAddressableStorage.FindMissingBlobs, l.351-360",
)
async def many_blobs_are_asked_about_at_once(target: Target) -> None:
    present = await target.put_one(unique())
    absent = [target.digest(unique(16)) for _ in range(5000)]
    missing = {key(each) for each in await target.find_missing(*absent, present)}
    expect(len(missing) == len(absent), f"{len(missing)} of {len(absent)} are reported")
    expect(key(present) not in missing, "the one that is there is reported as missing")
