"""Fetch and Push of the Remote Asset API. Nothing announces them: UNIMPLEMENTED is an answer."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from uuid import uuid4

from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from conformance import methods, needs
from conformance.check import MUST, ROBUSTNESS, SHOULD, Section
from conformance.digests import key
from conformance.refusal import BAD_INPUT, CODES, Refused
from conformance.target import Target, unique
from conformance.trees import put_tree, small_tree
from conformance.violation import NotApplicable, Violation, expect, optional, refused
from protos import remote_asset_pb2 as asset, remote_execution_pb2 as reapi

check = Section("assets", (needs.cache,))

HOUR_SECONDS = 3600
PUSH_REFUSALS = {
    StatusCode.INVALID_ARGUMENT,  # servers may take some URIs and qualifiers, and no others
    StatusCode.UNIMPLEMENTED,
    StatusCode.PERMISSION_DENIED,
    StatusCode.UNAUTHENTICATED,
}
SOURCE_FETCH = "remote_asset.proto, Fetch"
SOURCE_PUSH = "remote_asset.proto, Push"


def _uri() -> str:
    """Return a name of a thing that exists nowhere but where it is pushed."""
    return f"urn:uuid:{uuid4()}"


def _qualifiers(values: Mapping[str, str]) -> list[asset.Qualifier]:
    return [asset.Qualifier(name=name, value=value) for name, value in values.items()]


async def _push(
    target: Target,
    uris: Sequence[str],
    blob: reapi.Digest,
    qualifiers: Mapping[str, str] | None = None,
    *,
    expire_at: float = 0,
) -> None:
    """Push a blob; the rule does not apply where pushing is not served, or not to us."""
    request = target.named(
        asset.PushBlobRequest(uris=uris, qualifiers=_qualifiers(qualifiers or {}), blob_digest=blob)
    )
    if expire_at:
        request.expire_at.FromSeconds(int(expire_at))
    try:
        await target.call(methods.PUSH_BLOB, request)
    except Refused as error:
        if error.code in PUSH_REFUSALS:
            raise NotApplicable(f"nothing may be pushed here: {error}") from error
        raise


def _fetch_request(
    target: Target, uris: Sequence[str], qualifiers: Mapping[str, str] | None = None
) -> asset.FetchBlobRequest:
    return target.named(asset.FetchBlobRequest(uris=uris, qualifiers=_qualifiers(qualifiers or {})))


async def _fetch(
    target: Target, uris: Sequence[str], qualifiers: Mapping[str, str] | None = None
) -> asset.FetchBlobResponse:
    with optional("Fetch"):
        return await target.call(methods.FETCH_BLOB, _fetch_request(target, uris, qualifiers))


async def _expect_unfetched(target: Target, request: asset.FetchBlobRequest) -> None:
    """Expect that nothing is given, whether the call or its reply says so."""
    with optional("Fetch"):
        try:
            reply = await target.call(methods.FETCH_BLOB, request)
        except Refused as error:
            if error.code == StatusCode.UNIMPLEMENTED:
                raise
            expect(error.code in BAD_INPUT, f"{error.code.name} was answered")
            return
    expect(reply.status.code, f"{reply.blob_digest.hash} is given")


async def _pushed(
    target: Target, uris: Sequence[str], qualifiers: Mapping[str, str] | None = None
) -> reapi.Digest:
    blob = await target.put_one(unique())
    await _push(target, uris, blob, qualifiers)
    return blob


def _expect_blob(reply: asset.FetchBlobResponse, blob: reapi.Digest) -> None:
    code = CODES[reply.status.code]
    expect(code == StatusCode.OK, f"{code.name} was answered: {reply.status.message}")
    expect(key(reply.blob_digest) == key(blob), f"{reply.blob_digest.hash} is given")


@check(MUST, "FetchBlob gives what was pushed under its URI.", source=SOURCE_PUSH)
async def what_was_pushed_is_fetched(target: Target) -> None:
    uri = _uri()
    blob = await _pushed(target, [uri])
    reply = await _fetch(target, [uri])
    _expect_blob(reply, blob)
    await target.fetch(reply.blob_digest)


@check(
    MUST,
    "A reply names the URI of the request that was used.",
    source="remote_asset.proto, FetchBlobResponse.uri",
)
async def the_uri_is_named(target: Target) -> None:
    known, other = _uri(), _uri()
    await _pushed(target, [known])
    reply = await _fetch(target, [known])
    expect(reply.uri == known, f"the URI is {reply.uri!r}")
    both = await _fetch(target, [other, known])
    expect(both.uri in {known, other}, f"the URI is {both.uri!r}")


@check(
    SHOULD,
    "A reply names the digest function of its digest.",
    source="remote_asset.proto, FetchBlobResponse.digest_function",
)
async def the_function_is_named(target: Target) -> None:
    uri = _uri()
    await _pushed(target, [uri])
    reply = await _fetch(target, [uri])
    expect(reply.digest_function == target.function.value, "it is not named")


@check(
    MUST,
    "What is pushed under several URIs is fetched by any of them.",
    source="remote_asset.proto, PushBlobRequest.uris",
)
async def each_uri_leads_there(target: Target) -> None:
    uris = [_uri(), _uri()]
    blob = await _pushed(target, uris)
    for uri in uris:
        _expect_blob(await _fetch(target, [uri]), blob)


@check(
    MUST,
    "Qualifiers may be in any order.",
    source="remote_asset.proto, Qualifier",
)
async def qualifiers_have_no_order(target: Target) -> None:
    uri = _uri()
    qualifiers = {"resource_type": "application/x-conformance", "vcs.branch": "main"}
    blob = await _pushed(target, [uri], qualifiers)
    reversed_ = dict(reversed(qualifiers.items()))
    _expect_blob(await _fetch(target, [uri], reversed_), blob)


@check(
    MUST,
    "FetchBlob gives nothing whose qualifiers are others than those asked for.",
    source=SOURCE_FETCH,
)
async def qualifiers_are_heeded(target: Target) -> None:
    uri = _uri()
    await _pushed(target, [uri], {"vcs.branch": "main"})
    await _expect_unfetched(target, _fetch_request(target, [uri], {"vcs.branch": "other"}))


@check(
    MUST,
    "Blobs of one URI are told apart by their qualifiers.",
    source="remote_asset.proto, Qualifier",
)
async def qualifiers_tell_blobs_apart(target: Target) -> None:
    uri = _uri()
    blobs = {
        branch: await _pushed(target, [uri], {"vcs.branch": branch}) for branch in ("main", "dev")
    }
    for branch, blob in blobs.items():
        _expect_blob(await _fetch(target, [uri], {"vcs.branch": branch}), blob)


@check(
    MUST,
    "FetchBlob of what nobody pushed, and nobody can fetch, gives nothing, and says why.",
    source=SOURCE_FETCH,
)
async def unknown_assets_are_not_given(target: Target) -> None:
    await _expect_unfetched(target, _fetch_request(target, [_uri()]))


@check(
    SHOULD,
    "FetchBlob of what nobody pushed is NOT_FOUND.",
    source="remote_asset.proto, FetchBlobResponse.status; Push",
)
async def unknown_assets_are_not_found(target: Target) -> None:
    try:
        code = CODES[(await _fetch(target, [_uri()])).status.code]
    except Refused as error:
        code = error.code
    allowed = {StatusCode.NOT_FOUND, StatusCode.INVALID_ARGUMENT, StatusCode.PERMISSION_DENIED}
    expect(code in allowed, f"{code.name} was answered")


@check(
    MUST,
    "FetchBlob gives nothing that is older than oldest_content_accepted.",
    source="remote_asset.proto, FetchBlobRequest.oldest_content_accepted",
)
async def old_content_is_not_given(target: Target) -> None:
    uri = _uri()
    await _pushed(target, [uri])
    request = _fetch_request(target, [uri])
    request.oldest_content_accepted.CopyFrom(Timestamp(seconds=int(time.time()) + HOUR_SECONDS))
    await _expect_unfetched(target, request)


@check(
    MUST,
    "FetchBlob gives what is newer than oldest_content_accepted.",
    source="remote_asset.proto, FetchBlobRequest.oldest_content_accepted",
)
async def new_content_is_given(target: Target) -> None:
    uri = _uri()
    blob = await _pushed(target, [uri])
    request = _fetch_request(target, [uri])
    request.oldest_content_accepted.CopyFrom(Timestamp(seconds=int(time.time()) - HOUR_SECONDS))
    _expect_blob(await target.call(methods.FETCH_BLOB, request), blob)


@check(
    SHOULD,
    "What is pushed with an expiry that has passed is not given, or refused.",
    source="remote_asset.proto, PushBlobRequest.expire_at",
)
async def expired_content_is_not_given(target: Target) -> None:
    uri, blob = _uri(), await target.put_one(unique())
    await _push(target, [_uri()], blob)
    try:
        await _push(target, [uri], blob, expire_at=time.time() - HOUR_SECONDS)
    except Refused as error:
        expect(error.code in BAD_INPUT, f"{error.code.name} was answered")
        return
    await _expect_unfetched(target, _fetch_request(target, [uri]))


@check(
    SHOULD,
    "A later push under the same URI and qualifiers is what is fetched from then on.",
    source=SOURCE_PUSH,
)
async def later_pushes_replace_earlier(target: Target) -> None:
    uri = _uri()
    await _pushed(target, [uri])
    second = await _pushed(target, [uri])
    _expect_blob(await _fetch(target, [uri]), second)


@check(
    MUST,
    "FetchDirectory gives the directory that was pushed.",
    source=SOURCE_PUSH,
)
async def directories_are_fetched(target: Target) -> None:
    uri, root = _uri(), await put_tree(target, small_tree(target.function))
    push = target.named(asset.PushDirectoryRequest(uris=[uri], root_directory_digest=root))
    try:
        await target.call(methods.PUSH_DIRECTORY, push)
    except Refused as error:
        if error.code in PUSH_REFUSALS:
            raise NotApplicable(f"nothing may be pushed here: {error}") from error
        raise
    fetch = target.named(asset.FetchDirectoryRequest(uris=[uri]))
    reply = await target.call(methods.FETCH_DIRECTORY, fetch)
    expect(not reply.status.code, f"{reply.status.message} was answered")
    expect(key(reply.root_directory_digest) == key(root), "another directory is given")


@check(
    SHOULD,
    "FetchBlob gives no blob that is not in the CAS.",
    source=SOURCE_FETCH,
)
async def absent_blobs_are_not_given(target: Target) -> None:
    uri, absent = _uri(), target.digest(unique())
    try:
        await _push(target, [uri], absent)
    except Refused as error:
        expect(error.code in BAD_INPUT, f"{error.code.name} was answered")
        return
    await _expect_unfetched(target, _fetch_request(target, [uri]))


@check(
    MUST,
    "FetchBlob gives a digest in the function that was asked for.",
    source="remote_asset.proto, FetchBlobRequest.digest_function",
)
async def the_function_is_heeded(target: Target) -> None:
    uri, data = _uri(), unique()
    await _push(target, [uri], await target.put_one(data))
    reply = await _fetch(target, [uri])
    _expect_blob(reply, target.digest(data))


@check(
    ROBUSTNESS,
    "Requests without a URI are refused.",
    source="remote_asset.proto, FetchBlobRequest.uris",
)
async def a_uri_is_needed(target: Target) -> None:
    with refused(*BAD_INPUT), optional("Fetch"):
        reply = await target.call(methods.FETCH_BLOB, _fetch_request(target, []))
        if reply.status.code:
            raise _as_refused(reply)
    with refused(*BAD_INPUT):
        request = target.named(asset.PushBlobRequest(blob_digest=target.digest(b"")))
        await target.call(methods.PUSH_BLOB, request)


def _as_refused(reply: asset.FetchBlobResponse) -> Refused:
    """Return the reply's own status as if the call had ended with it."""
    return Refused(CODES[reply.status.code], reply.status.message, reply.status)


@check(
    ROBUSTNESS,
    "A qualifier that stands twice, or that nobody knows, is refused, or finds nothing.",
    source="remote_asset.proto, FetchBlobRequest.qualifiers",
)
async def strange_qualifiers_find_nothing(target: Target) -> None:
    uri = _uri()
    await _pushed(target, [uri])
    request = _fetch_request(target, [uri], {"vcs.branch": "a"})
    request.qualifiers.add(name="vcs.branch", value="b")
    await _expect_unfetched(target, request)
    strange = {"conformance-no-such-qualifier": "1"}
    await _expect_unfetched(target, _fetch_request(target, [uri], strange))


@check(
    ROBUSTNESS,
    "URIs that are none, or lead into the server's own machine, give nothing.",
    source=SOURCE_FETCH,
)
async def hostile_uris_give_nothing(target: Target) -> None:
    uris = ("", " ", "\x00", "file:///etc/passwd", "../../etc/passwd", "u" * 100_000)
    for uri in uris:
        try:
            await _expect_unfetched(target, _fetch_request(target, [uri]))
        except Violation as error:
            raise Violation(f"{uri[:40]!r}: {error}") from error
