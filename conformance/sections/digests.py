"""Digest functions other than the first: each rule holds for every announced one."""

from __future__ import annotations

from grpc import StatusCode

from conformance import needs
from conformance.check import MUST, ROBUSTNESS, SHOULD, Section
from conformance.connection import announced_functions
from conformance.digests import FUNCTIONS, Function, key
from conformance.raw import numbered
from conformance.refusal import BAD_INPUT, Refused
from conformance.results import Outputs, put_action
from conformance.target import Target, unique
from conformance.trees import put_tree, small_tree
from conformance.violation import NotApplicable, expect, refused
from protos import remote_execution_pb2 as reapi

check = Section("digests", (needs.cache,))

SOURCE = "CacheCapabilities.digest_functions, l.2285-2287"


def _each(target: Target) -> list[Target]:
    return [target.using(function) for function in announced_functions(target.capabilities)]


def _same_length(target: Target) -> list[tuple[Function, Function]]:
    """Return pairs of announced functions whose hashes look alike."""
    functions = announced_functions(target.capabilities)
    return [
        (one, other)
        for one in functions
        for other in functions
        if one is not other and one.length == other.length
    ]


@check(
    MUST,
    "Blobs are stored and found in every announced digest function, in batches.",
    source=SOURCE,
)
async def each_function_names_blobs(target: Target) -> None:
    for each in _each(target):
        for data in (unique(), unique(3000)):
            digest = await each.put_one(data)
            expect(await each.has(digest), f"{each.function.name}: the blob is missing")
            (entry,) = await each.batch_read(digest)
            expect(entry.data == data, f"{each.function.name}: other bytes are read")


@check(
    MUST,
    "Blobs are written and read in every announced digest function, which stands in the name if "
    "it has to.",
    source="ContentAddressableStorage, l.235-240",
)
async def each_function_stands_in_names(target: Target) -> None:
    for each in _each(target):
        data = unique(100_000)
        digest = each.digest(data)
        committed = await each.write(each.write_name(digest), data)
        expect(committed == len(data), f"{each.function.name}: committed_size {committed}")
        expect(await each.fetch(digest) == data, f"{each.function.name}: other bytes are read")


@check(
    MUST,
    "The empty blob is there in every announced digest function.",
    source="ContentAddressableStorage, l.342-344",
)
async def each_function_has_an_empty_blob(target: Target) -> None:
    for each in _each(target):
        empty = each.digest(b"")
        expect(await each.has(empty), f"{each.function.name}: the empty blob is missing")
        expect(await each.read(each.read_name(empty)) == b"", f"{each.function.name}: it has bytes")


@check(
    MUST,
    "Bytes that do not hash to their name are refused in every announced digest function.",
    source="ContentAddressableStorage, l.283-287",
)
async def each_function_is_verified(target: Target) -> None:
    for each in _each(target):
        named = each.digest(unique(1000))
        with refused(StatusCode.INVALID_ARGUMENT):
            await each.write(each.write_name(named), unique(1000))
        expect(not await each.has(named), f"{each.function.name}: a blob has the wrong name now")


@check(
    MUST,
    "Results of actions are kept in every announced digest function.",
    source="UpdateActionResultRequest, l.1768-1775; GetActionResultRequest, l.1735-1742",
    needs=[needs.updates],
)
async def each_function_names_actions(target: Target) -> None:
    for each in _each(target):
        action, outputs = await put_action(each), Outputs.made(each)
        await each.update_result(action, await outputs.put(each))
        got = await each.result_of(action)
        digest = got.output_files[0].digest
        expect(key(digest) == key(each.digest(outputs.file)), f"{each.function.name}: another file")


@check(
    MUST,
    "GetTree reads trees of every announced digest function.",
    source="GetTreeRequest.digest_function, l.1944-1952",
)
async def each_function_names_trees(target: Target) -> None:
    for each in _each(target):
        tree = small_tree(each.function)
        got = await each.tree(await put_tree(each, tree))
        missing = {bytes(one) for one in tree.encoded()[1:]} - set(got)
        expect(not missing, f"{each.function.name}: {len(missing)} directories are not told")


@check(
    MUST,
    "Functions whose hashes have one length are told apart: what was uploaded in one is not found "
    "under the other's name.",
    source="DigestFunction, l.2092-2094",
    needs=[needs.several_functions],
)
async def functions_of_one_length_are_told_apart(target: Target) -> None:
    pairs = _same_length(target)
    if not pairs:
        raise NotApplicable("no two announced digest functions have hashes of one length")
    for one, other in pairs:
        # Up to 1024 bytes SHA256TREE is SHA-256: more, so that no two functions agree.
        digest = await target.using(one).put_one(unique(2000))
        try:
            found = await target.using(other).has(digest)
        except Refused:
            continue
        expect(not found, f"a blob of {one.name} is found in {other.name}")


@check(
    SHOULD,
    "A hash whose function is not named is one of those seven that need not be named.",
    source="FindMissingBlobsRequest.digest_function, l.1792-1799",
    needs=[needs.several_functions],
)
async def inference_prefers_what_need_not_be_named(target: Target) -> None:
    functions = announced_functions(target.capabilities)
    pairs = [
        (one, other) for one, other in _same_length(target) if one.inferred and not other.inferred
    ]
    if not pairs:
        raise NotApplicable(f"nothing is ambiguous among {[one.name for one in functions]}")
    for one, _ in pairs:
        digest = await target.using(one).put_one(unique(2000))
        request = reapi.FindMissingBlobsRequest(
            instance_name=target.instance, blob_digests=[digest]
        )
        expect(not await target.missing_of(request), f"{one.name} is not what is inferred")


@check(
    ROBUSTNESS,
    "A digest function that is not announced is refused, or its blobs are missing.",
    source=SOURCE,
)
async def other_functions_are_refused(target: Target) -> None:
    announced = announced_functions(target.capabilities)
    for function in FUNCTIONS.values():
        if function in announced:
            continue
        other = target.using(function)
        try:
            found = await other.has(other.digest(unique()))
        except Refused as error:
            expect(error.code in BAD_INPUT, f"{error.code.name} was answered to {function.name}")
            continue
        expect(not found, f"a blob of {function.name} is there that nobody uploaded")


@check(
    ROBUSTNESS,
    "A digest function that the protocol does not have is refused, or its blobs are missing.",
    source="DigestFunction, l.2092-2094",
)
async def unknown_functions_are_refused(target: Target) -> None:
    request = target.named(reapi.FindMissingBlobsRequest(blob_digests=[target.digest(unique())]))
    request.ClearField("digest_function")
    raw = request.SerializeToString() + numbered(3, 99)
    try:
        missing = await target.missing_of(raw)
    except Refused as error:
        expect(error.code in BAD_INPUT, f"{error.code.name} was answered")
        return
    expect(missing, "a blob is there that nobody uploaded")


@check(
    ROBUSTNESS,
    "Digests of several functions in one request are refused, or judged each for itself.",
    source="FindMissingBlobsRequest.blob_digests, l.1788-1790",
)
async def functions_may_not_be_mixed(target: Target) -> None:
    other = next(each for each in FUNCTIONS.values() if each.length != target.function.length)
    absent = [target.digest(unique()), other.digest(unique())]
    try:
        missing = await target.find_missing(*absent)
    except Refused as error:
        expect(error.code in BAD_INPUT, f"{error.code.name} was answered")
        return
    expect(len(missing) == len(absent), "a blob is there that nobody uploaded")
