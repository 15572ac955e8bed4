"""Headers that come with calls: RequestMetadata, none, too many, none that anybody knows."""

from __future__ import annotations

from grpc import StatusCode

from conformance import methods
from conformance.check import MUST, ROBUSTNESS, Section
from conformance.refusal import BAD_INPUT, Refused
from conformance.target import Metadata, Target, unique
from conformance.violation import expect
from protos import remote_execution_pb2 as reapi

check = Section("metadata")

KEY = "build.bazel.remote.execution.v2.requestmetadata-bin"


async def _ask(target: Target, *headers: tuple[str, str | bytes]) -> None:
    """Ask two services, which a server may well have parse headers on their own."""
    metadata: Metadata = headers
    request = reapi.GetCapabilitiesRequest(instance_name=target.instance)
    await target.call(methods.GET_CAPABILITIES, request, metadata=metadata)
    if target.capabilities.HasField("cache_capabilities"):
        absent = target.named(reapi.FindMissingBlobsRequest(blob_digests=[target.digest(unique())]))
        reply = await target.call(methods.FIND_MISSING, absent, metadata=metadata)
        expect(len(reply.missing_blob_digests) == 1, "the answer is another with such a header")


async def _ask_or_be_refused(
    target: Target, *headers: tuple[str, str | bytes], also: tuple[StatusCode, ...] = ()
) -> None:
    try:
        await _ask(target, *headers)
    except Refused as error:
        expect(error.code in {*BAD_INPUT, *also}, f"{error.code.name} was answered")


def _metadata() -> reapi.RequestMetadata:
    return reapi.RequestMetadata(
        tool_details=reapi.ToolDetails(tool_name="conformance", tool_version="1"),
        action_id="a" * 64,
        tool_invocation_id="0b6a8f6e-1f0c-4f2b-9f53-1c1f0f4f0a51",
        correlated_invocations_id="of the suite",
        action_mnemonic="Check",
        target_id="//some:target",
        configuration_id="none",
    )


@check(MUST, "Calls need no RequestMetadata.", source="RequestMetadata, l.2474-2486")
async def metadata_may_be_absent(target: Target) -> None:
    await _ask(target)


@check(MUST, "Calls may have RequestMetadata.", source="RequestMetadata, l.2474-2486")
async def metadata_may_be_there(target: Target) -> None:
    await _ask(target, (KEY, _metadata().SerializeToString()))


@check(MUST, "RequestMetadata may be empty.", source="RequestMetadata, l.2474-2486")
async def metadata_may_be_empty(target: Target) -> None:
    await _ask(target, (KEY, b""))


@check(
    MUST,
    "RequestMetadata may have fields that this server does not know yet.",
    source="RequestMetadata, l.2474-2486; proto3, unknown fields",
)
async def metadata_may_be_of_a_newer_version(target: Target) -> None:
    newer = _metadata().SerializeToString() + b"\xfa\x3e\x03new"  # field 1007, of bytes
    await _ask(target, (KEY, newer))


@check(
    MUST,
    "Headers that the protocol does not know change nothing.",
    source="the custom metadata of gRPC's protocol over HTTP/2",
)
async def other_headers_change_nothing(target: Target) -> None:
    await _ask(target, ("x-conformance", "some value"), ("x-conformance-bin", unique()))


@check(
    ROBUSTNESS,
    "RequestMetadata that are no message are passed over, or the call is refused.",
    source="RequestMetadata, l.2474-2486",
)
async def malformed_metadata_do_no_harm(target: Target) -> None:
    for garbage in (b"\xff" * 20, b"\x0a\x7f", b"\x12\x04\xff\xfe\xfd\xfc"):
        await _ask_or_be_refused(target, (KEY, garbage))


@check(
    ROBUSTNESS,
    "RequestMetadata that come twice do no harm.",
    source="RequestMetadata, l.2474-2486",
)
async def metadata_may_come_twice(target: Target) -> None:
    one = (KEY, _metadata().SerializeToString())
    await _ask_or_be_refused(target, one, one)


@check(
    ROBUSTNESS,
    "RequestMetadata with control characters and markup do no harm.",
    source="RequestMetadata, l.2474-2486",
)
async def metadata_may_be_hostile(target: Target) -> None:
    hostile = reapi.RequestMetadata(
        tool_invocation_id="\n\x1b[31m\x00<script>'\";--",
        target_id="../" * 100,
        action_mnemonic="%s%n" * 50,
    )
    await _ask_or_be_refused(target, (KEY, hostile.SerializeToString()))


@check(
    ROBUSTNESS,
    "RequestMetadata of 4 KiB are no trouble: gRPC itself takes 8 KiB of headers.",
    source="RequestMetadata, l.2474-2486",
)
async def metadata_may_be_long(target: Target) -> None:
    long = reapi.RequestMetadata(target_id="//" + "t" * 3000)
    await _ask_or_be_refused(target, (KEY, long.SerializeToString()))


@check(
    ROBUSTNESS,
    "Headers that are far too large end the call, and not the server.",
    source="the limits of gRPC on headers",
)
async def oversized_headers_end_the_call(target: Target) -> None:
    trouble = (StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.UNAVAILABLE)
    await _ask_or_be_refused(target, ("x-conformance", "x" * (1 << 20)), also=trouble)
