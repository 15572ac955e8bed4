"""Batch calls on the wire: written by hand, since messages would copy each blob three times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from google.rpc.status_pb2 import Status

from cas.digest import Digest
from cas.names import varint
from cas.store import DigestMismatch
from cas.wire import digest_to
from re_client.status import Refused
from re_server.compression.codec import Codec

REMEMBERED = 20_000  # entries that need not be written anew; about 300 bytes each
LEAST_PACKED_BYTES = 256  # smaller blobs save some 60 bytes at the most, for 15 µs

_ENTRY = b"\n"  # tag of `responses`, field 1 of both responses
_DIGEST = b"\n"  # tag of `digest`, field 1 of an entry
_DATA = b"\x12"  # tag of `data`, field 2 of a read entry
_READ_STATUS = b"\x1a"  # tag of `status`, field 3 of a read entry
_COMPRESSOR = b"\x20"  # tag of `compressor`, field 4 of a read entry
_UPDATE_STATUS = b"\x12"  # tag of `status`, field 2 of an update entry


@lru_cache(maxsize=REMEMBERED)
def read_entry(digest: Digest) -> bytes:
    """Return a BatchReadBlobsResponse entry up to the blob's bytes, which are to follow.

    Source: remote_execution.proto, BatchReadBlobsResponse.
    """
    said = digest_to(digest).SerializeToString()
    named = b"%b%b%b" % (_DIGEST, varint(len(said)), said)
    if digest.size:
        named += b"%b%b" % (_DATA, varint(digest.size))
    return b"%b%b%b" % (_ENTRY, varint(len(named) + digest.size), named)


def packed_entries(blobs: Mapping[Digest, bytes], codec: Codec) -> dict[Digest, bytes]:
    """Return a whole BatchReadBlobsResponse entry for each of `blobs`, in as few bytes as may be.

    A blob is compressed only if that makes it smaller.
    """
    entries: dict[Digest, bytes] = {}
    for digest, data in blobs.items():
        packed = codec.pack(data) if len(data) >= LEAST_PACKED_BYTES else data
        if len(packed) < len(data):
            said = digest_to(digest).SerializeToString()
            named = b"%b%b%b" % (_DIGEST, varint(len(said)), said)
            named += b"%b%b%b%b" % (_COMPRESSOR, varint(codec.number), _DATA, varint(len(packed)))
            length = varint(len(named) + len(packed))
            entries[digest] = b"%b%b%b%b" % (_ENTRY, length, named, packed)
        else:
            entries[digest] = read_entry(digest) + data
    return entries


def read_failure(digest: Digest, status: Status) -> bytes:
    """Return a BatchReadBlobsResponse entry for a blob that is not read."""
    return _failure(digest_to(digest).SerializeToString(), _READ_STATUS, status)


class Packed(NamedTuple):
    """A compressed blob in a BatchUpdateBlobsRequest."""

    digest: Digest
    data: bytes
    codec: Codec


def unpack(blobs: Iterable[Packed]) -> tuple[dict[Digest, bytes], dict[Digest, Exception]]:
    """Return what each of `blobs` stands for, and what is wrong with those that cannot be read."""
    unpacked: dict[Digest, bytes] = {}
    failed: dict[Digest, Exception] = {}
    for each in blobs:
        try:
            unpacked[each.digest] = each.codec.unpack(each.data, each.digest)
        except (DigestMismatch, Refused) as error:
            failed[each.digest] = error
    return unpacked, failed


def update_entry(digest: bytes) -> bytes:
    """Return a BatchUpdateBlobsResponse entry for a blob that is kept: its status is empty, OK.

    digest: a serialised Digest.
    """
    named = b"%b%b%b%b\0" % (_DIGEST, varint(len(digest)), digest, _UPDATE_STATUS)
    return b"%b%b%b" % (_ENTRY, varint(len(named)), named)


def update_failure(digest: bytes, status: Status) -> bytes:
    """Return a BatchUpdateBlobsResponse entry for a blob that is not kept."""
    return _failure(digest, _UPDATE_STATUS, status)


def _failure(digest: bytes, tag: bytes, status: Status) -> bytes:
    told = status.SerializeToString()
    named = b"%b%b%b%b%b%b" % (_DIGEST, varint(len(digest)), digest, tag, varint(len(told)), told)
    return b"%b%b%b" % (_ENTRY, varint(len(named)), named)
