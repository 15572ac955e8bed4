"""Facts to status codes, and back: the one table of the project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import singledispatch

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, RetryInfo
from google.rpc.status_pb2 import Status

from access.refusal import NotAuthenticated, RightMissing, TooMuch
from assets.fault import (
    AssetNotFound,
    AssetTooLarge,
    ContentMismatch,
    FetchTooSlow,
    OriginRefused,
    OriginUnreachable,
)
from assets.origins import InvalidUri
from assets.qualifiers import InvalidQualifier, UnsupportedQualifiers
from assets.running import TooManyFetches
from cas.chunk_list import ChunksMissing, ChunksUnfit
from cas.digest import Digest, DigestFunction, InvalidDigest
from cas.store import BlobNotFound, BlobTooLarge, DigestMismatch, StoreFull
from cas.tree import InvalidMessage, MissingInputs
from cas.wire import INFERRED

FRAMING_BYTES = 16  # tags and lengths around one detail, at the most
RETRY_SECONDS = 2  # what a client is asked to wait for room, or for a server that is stopping
MISSING = "MISSING"  # type of a violation that names a blob to upload
MISMATCH = "DIGEST_MISMATCH"  # reason of the ErrorInfo that says which bytes came instead
DOMAIN = "holdfast"


class NotServed(LookupError):
    """The instance, operation or other thing that is named does not exist here."""


class Refused(ValueError):
    """A request that breaks a rule of the protocol or a bound of this server."""


class Overloaded(RuntimeError):
    """There is no room for the request now; there will be later."""


class NotAllowed(PermissionError):
    """The caller has no right to what it asks."""


class OutOfRange(ValueError):
    """An offset or limit lies outside the blob."""


class NotOffered(NotImplementedError):
    """A method of the protocol that this server does not have, and does not announce."""


class Unserved(RuntimeError):
    """What is asked for is not in the state that it needs."""


class ServerFailed(RuntimeError):
    """The server has a fault, or answers with what no client can use."""


_CODES: Mapping[type, int] = {
    BlobNotFound: Code.NOT_FOUND,
    ChunksMissing: Code.NOT_FOUND,
    NotServed: Code.NOT_FOUND,
    DigestMismatch: Code.INVALID_ARGUMENT,
    DecodeError: Code.INVALID_ARGUMENT,
    BlobTooLarge: Code.INVALID_ARGUMENT,
    ChunksUnfit: Code.INVALID_ARGUMENT,
    InvalidDigest: Code.INVALID_ARGUMENT,
    InvalidMessage: Code.INVALID_ARGUMENT,
    Refused: Code.INVALID_ARGUMENT,
    OutOfRange: Code.OUT_OF_RANGE,
    MissingInputs: Code.FAILED_PRECONDITION,
    Unserved: Code.FAILED_PRECONDITION,
    StoreFull: Code.RESOURCE_EXHAUSTED,
    Overloaded: Code.RESOURCE_EXHAUSTED,
    TooMuch: Code.RESOURCE_EXHAUSTED,
    NotAuthenticated: Code.UNAUTHENTICATED,
    NotAllowed: Code.PERMISSION_DENIED,
    AssetNotFound: Code.NOT_FOUND,
    OriginRefused: Code.PERMISSION_DENIED,
    OriginUnreachable: Code.UNAVAILABLE,
    FetchTooSlow: Code.DEADLINE_EXCEEDED,
    AssetTooLarge: Code.RESOURCE_EXHAUSTED,
    ContentMismatch: Code.ABORTED,
    InvalidUri: Code.INVALID_ARGUMENT,
    InvalidQualifier: Code.INVALID_ARGUMENT,
    UnsupportedQualifiers: Code.INVALID_ARGUMENT,
    TooManyFetches: Code.RESOURCE_EXHAUSTED,
    RightMissing: Code.PERMISSION_DENIED,
    NotImplementedError: Code.UNIMPLEMENTED,
    TimeoutError: Code.DEADLINE_EXCEEDED,
    ConnectionError: Code.UNAVAILABLE,
    Exception: Code.INTERNAL,
}


def to_status(error: Exception) -> Status:
    """Return the status that says `error`, its details included."""
    code = next(_CODES[kind] for kind in type(error).__mro__ if kind in _CODES)
    status = Status(code=code, message=str(error) or type(error).__name__)
    for detail in _details(error):
        status.details.add().Pack(detail)
    return status


def fitted(status: Status, max_bytes: int) -> Status:
    """Return `status`, shortened where it is larger than `max_bytes`.

    Clients take only so much in a call's trailers, and tell nothing of one that has more.
    """
    if status.ByteSize() <= max_bytes:
        return status
    short = Status(code=status.code, message=status.message[: max_bytes // 4])
    for detail in status.details:
        failure = PreconditionFailure()
        if detail.Is(PreconditionFailure.DESCRIPTOR):
            detail.Unpack(failure)
            room = max_bytes - short.ByteSize() - len(detail.type_url) - FRAMING_BYTES
            while failure.violations and failure.ByteSize() > room:
                del failure.violations[-1 - len(failure.violations) // 8 :]
            short.details.add().Pack(failure)
        elif short.ByteSize() + detail.ByteSize() + FRAMING_BYTES <= max_bytes:
            short.details.append(detail)
    return short


@singledispatch
def _details(error: Exception) -> Iterable[Message]:
    return ()


@_details.register
def _(error: MissingInputs) -> Iterable[Message]:
    """Name each missing blob, so that the client uploads it and tries again.

    Source: remote_execution.proto, Execution.Execute, "MISSING".
    """
    missing = PreconditionFailure()
    for digest in error.digests:
        missing.violations.add(type=MISSING, subject=f"blobs/{_named(digest)}")
    yield missing


@_details.register
def _(error: DigestMismatch) -> Iterable[Message]:
    """Say what the bytes are, so that a client need not hash them to know."""
    yield ErrorInfo(reason=MISMATCH, domain=DOMAIN, metadata={"found": str(error.found)})


@_details.register
def _(error: UnsupportedQualifiers) -> Iterable[Message]:
    """Name each qualifier. Source: remote_asset.proto, Fetch.FetchBlob."""
    request = BadRequest()
    for name in error.names:
        request.field_violations.add(field="qualifiers.name", description=f'"{name}" not supported')
    yield request


@_details.register(StoreFull)
@_details.register(Overloaded)
@_details.register(ConnectionError)
@_details.register(TooManyFetches)
@_details.register(TooMuch)
def _(error: Exception) -> Iterable[Message]:
    """Say when to come back. Source: remote_execution.proto: any error may carry a RetryInfo."""
    yield RetryInfo(retry_delay=Duration(seconds=RETRY_SECONDS))


def _named(digest: Digest) -> str:
    return str(digest) if digest.function in INFERRED else f"{digest.function}/{digest}"


_FACTS: Mapping[int, type[Exception]] = {
    Code.NOT_FOUND: NotServed,
    Code.INVALID_ARGUMENT: Refused,
    Code.OUT_OF_RANGE: OutOfRange,
    Code.FAILED_PRECONDITION: Unserved,
    Code.RESOURCE_EXHAUSTED: Overloaded,
    Code.PERMISSION_DENIED: NotAllowed,
    Code.UNAUTHENTICATED: NotAllowed,
    Code.UNIMPLEMENTED: NotImplementedError,
    Code.DEADLINE_EXCEEDED: TimeoutError,
    Code.UNAVAILABLE: ConnectionError,
}


def from_status(
    status: Status,
    *,
    digest: Digest | None = None,
    function: DigestFunction = DigestFunction.SHA256,
) -> Exception:
    """Return the fact that a server says with `status`: what `to_status` was given.

    digest: the blob that was to be kept, if one was; a lack of room is then the store's.
    function: what digests in the details are by where they do not say.
    """
    if missing := missing_blobs(status, digest.function if digest else function):
        return MissingInputs(missing)
    if digest is not None:
        if status.code == Code.RESOURCE_EXHAUSTED:
            return StoreFull(status.message)
        if found := _found_instead(status, digest.function):
            return DigestMismatch(expected=digest, found=found)
    if status.code in _FACTS:
        return _FACTS[status.code](status.message)
    name = Code.Name(status.code) if status.code in Code.values() else f"status {status.code}"
    return ServerFailed(f"{name}: {status.message}")


def missing_blobs(status: Status, function: DigestFunction) -> list[Digest]:
    """Return the blobs that `status` says must be uploaded first.

    Source: remote_execution.proto, Execution.Execute, "MISSING".
    """
    found = []
    for detail in status.details:
        failure = PreconditionFailure()
        if detail.Is(PreconditionFailure.DESCRIPTOR) and detail.Unpack(failure):
            found += [
                _parse_named(violation.subject.removeprefix("blobs/"), function)
                for violation in failure.violations
                if violation.type == MISSING
            ]
    return found


def _found_instead(status: Status, function: DigestFunction) -> Digest | None:
    for detail in status.details:
        info = ErrorInfo()
        if detail.Is(ErrorInfo.DESCRIPTOR) and detail.Unpack(info) and info.reason == MISMATCH:
            return _parse_named(info.metadata["found"], function)
    return None


def _parse_named(subject: str, function: DigestFunction) -> Digest:
    """Read `hash/size` or `function/hash/size`; raise ServerFailed if it is neither."""
    *named, hash, size = ["", *subject.split("/")][-3:]
    try:
        said = DigestFunction(named[0]) if named and named[0] else function
        return Digest.parse(hash, int(size), said)
    except ValueError:
        raise ServerFailed(f"the server names {subject!r}, which is no blob") from None
