"""Resource names of ByteStream."""

from __future__ import annotations

from dataclasses import dataclass

from cas.digest import Digest, DigestFunction, InvalidDigest
from cas.wire import FROM_WIRE, INFERRED
from re_client.status import Refused
from re_server.compression.codec import Codec
from re_server.compression.codecs import codec_named
from re_server.instances import Instances

_NAMED = {str(function): function for function in FROM_WIRE.values()}
_READ_FORM = (
    "{instance_name}/blobs/{hash}/{size} or "
    "{instance_name}/compressed-blobs/{compressor}/{hash}/{size}"
)
_WRITE_FORM = (
    "{instance_name}/uploads/{uuid}/blobs/{hash}/{size} or "
    "{instance_name}/uploads/{uuid}/compressed-blobs/{compressor}/{hash}/{size}"
)


@dataclass(frozen=True, slots=True)
class Resource:
    """What a resource name says.

    digest: of the bytes without compression. codec: what they are compressed with, if at all.
    """

    instance: str
    digest: Digest
    codec: Codec | None


def parse_read(name: str, instances: Instances) -> Resource:
    """Take a name for ByteStream.Read apart; raise Refused or InvalidDigest.

    Source: remote_execution.proto, service ContentAddressableStorage: an instance name may have
    any number of segments, and none of them is a keyword.
    """
    instance, segments = _split_read(name)
    return _blob(name, instance, segments, instances, exact=True)


def parse_write(name: str, instances: Instances) -> Resource:
    """Take a name for ByteStream.Write apart; what follows the size is the client's own affair."""
    instance, segments = _split_write(name)
    return _blob(name, instance, segments, instances, exact=False)


def read_instance(name: str) -> str:
    """Return the instance that `parse_read` finds in a name; raise Refused if it is none."""
    return _split_read(name)[0]


def write_instance(name: str) -> str:
    """Return the instance that `parse_write` finds in a name; raise Refused if it is none."""
    return _split_write(name)[0]


def _split_read(name: str) -> tuple[str, list[str]]:
    """Return the instance, and the segments from the keyword on."""
    segments = _segments(name, _READ_FORM)
    for at, segment in enumerate(segments):
        if segment in {"blobs", "compressed-blobs"}:
            return "/".join(segments[:at]), segments[at:]
    raise Refused(f"resource_name {name!r}: the form is {_READ_FORM}")


def _split_write(name: str) -> tuple[str, list[str]]:
    """Return the instance, and the segments behind the upload's identity."""
    segments = _segments(name, _WRITE_FORM)
    at = segments.index("uploads") if "uploads" in segments else len(segments)
    if len(segments) < at + 3 or not segments[at + 1]:
        raise Refused(f"resource_name {name!r}: the form is {_WRITE_FORM}")
    return "/".join(segments[:at]), segments[at + 2 :]


def _segments(name: str, form: str) -> list[str]:
    if name.startswith("/"):
        raise Refused(f"resource_name {name!r}: begins with a slash; the form is {form}")
    return name.split("/")


def _blob(
    name: str, instance: str, segments: list[str], instances: Instances, *, exact: bool
) -> Resource:
    """Read `blobs/…` or `compressed-blobs/{compressor}/…`."""
    form = _READ_FORM if exact else _WRITE_FORM
    codec, rest = None, segments[1:]
    if segments[0] == "compressed-blobs" and rest:
        try:
            codec, rest = codec_named(rest[0]), rest[1:]
        except Refused as error:
            raise Refused(f"resource_name {name!r}: {error}") from None
    elif segments[0] != "blobs":
        raise Refused(f"resource_name {name!r}: the form is {form}")
    function: DigestFunction | None = None
    if rest and rest[0] in _NAMED:
        function, rest = _NAMED[rest[0]], rest[1:]
        if function in INFERRED:
            raise Refused(f"resource_name {name!r}: {function} is not to be named, its length does")
    if len(rest) < 2 or (exact and len(rest) > 2) or not _is_size(rest[1]):  # noqa: PLR2004
        raise Refused(f"resource_name {name!r}: the form is {form}")
    function = function or instances.function(instance, 0, rest[0])
    instances.find(instance)
    try:
        return Resource(instance, Digest.parse(rest[0], int(rest[1]), function), codec)
    except InvalidDigest as error:
        raise InvalidDigest(f"resource_name {name!r}: {error}") from None


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 19  # noqa: PLR2004 - int64
