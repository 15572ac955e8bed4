"""Resource names that name nothing: each is refused, and the server goes on."""

from __future__ import annotations

import grpc
import pytest

from tests.protocol.blobs import digest_of, read_name, unique
from tests.protocol.peer import Peer, Refusal, attempt, refused

DATA = b"a blob for names"
DIGEST = digest_of(DATA)
HASH = DIGEST.hash
UUID = "1c5e3a7e-93c5-4f0c-a7ef-d6b6dbb1c8a4"

MALFORMED_TAILS = {
    "no size": f"blobs/{HASH}",
    "no hash": "blobs/16",
    "an empty hash": "blobs//16",
    "a size that is no number": f"blobs/{HASH}/many",
    "an empty size": f"blobs/{HASH}/",
    "a negative size": f"blobs/{HASH}/-16",
    "a size with a sign": f"blobs/{HASH}/+16",
    "a size with spaces": f"blobs/{HASH}/ 16",
    "a size with an underscore": f"blobs/{HASH}/1_6",
    "a size in other digits": f"blobs/{HASH}/١٦",
    "a size in hexadecimal": f"blobs/{HASH}/0x10",
    "a fraction": f"blobs/{HASH}/16.0",
    "a size of 64 bits and more": f"blobs/{HASH}/18446744073709551632",
    "a size of a thousand digits": f"blobs/{HASH}/{'9' * 5000}",
    "an uppercase hash": f"blobs/{HASH.upper()}/16",
    "a short hash": f"blobs/{HASH[1:]}/16",
    "a long hash": f"blobs/{HASH}0/16",
    "a hash with a NUL": f"blobs/{HASH[:-1]}\0/16",
    "a hash that climbs": f"blobs/{'../' * 21}e/16",
    "dots for a hash": "blobs/../16",
    "a function that is not served": f"blobs/md5/{HASH[:32]}/16",
    "a function of no protocol": f"blobs/crc32/{HASH}/16",
    "an uppercase function": f"blobs/BLAKE3/{HASH}/16",
    "a compressor too few": f"compressed-blobs/{HASH}/16",
    "blobs in the plural twice": f"blobs/blobs/{HASH}/16",
    "the wrong keyword": f"blob/{HASH}/16",
}
MALFORMED_HEADS = {
    "a leading slash": "/",
    "an empty segment": "a//b/",
    "a keyword": "actions/",
    "a keyword in the middle": "a/operations/b/",
}


@pytest.mark.parametrize("tail", MALFORMED_TAILS.values(), ids=MALFORMED_TAILS.keys())
def test_a_malformed_name_cannot_be_read(peer: Peer, tail: str) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        list(peer.pieces(tail))
    assert peer.has(peer.digest(b""))


@pytest.mark.parametrize("tail", MALFORMED_TAILS.values(), ids=MALFORMED_TAILS.keys())
def test_a_malformed_name_cannot_be_written(peer: Peer, tail: str) -> None:
    name = f"uploads/{UUID}/{tail}"
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        peer.write(name, DATA)
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        peer.write_status(name)
    assert peer.has(peer.digest(b""))


@pytest.mark.parametrize("head", MALFORMED_HEADS.values(), ids=MALFORMED_HEADS.keys())
def test_a_malformed_instance_is_refused(peer: Peer, head: str) -> None:
    # REAPI rule: no segment of an instance name is empty or a keyword.
    with refused(grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND):
        list(peer.pieces(f"{head}blobs/{HASH}/16"))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND):
        peer.write(f"{head}uploads/{UUID}/blobs/{HASH}/16", DATA)


@pytest.mark.parametrize("name", ["", "/", "blobs", "blobs/", "\0", "..", "x" * 10_000])
def test_what_is_no_name_at_all_is_refused(peer: Peer, name: str) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="resource_name"):
        list(peer.pieces(name))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="resource_name"):
        peer.write(name, DATA)


def test_an_upload_name_cannot_be_read_nor_a_blobs_name_written(peer: Peer) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        list(peer.pieces(f"uploads/{UUID}/blobs/{HASH}/16"))
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        peer.write(f"blobs/{HASH}/16", DATA)


@pytest.mark.parametrize("identity", ["", "not a uuid", "..", "\0", "1c5e3a7e"])
def test_an_upload_has_a_uuid(peer: Peer, identity: str) -> None:
    # REAPI rule: the segment after `uploads` is a UUID. Servers in use take any word for one, and
    # some clients send such; the empty one names no upload at all.
    data = unique()
    digest = peer.digest(data)
    name = f"uploads/{identity}/blobs/{digest.hash}/{digest.size_bytes}"
    answer = attempt(lambda: peer.write(name, data))
    if isinstance(answer, Refusal):
        assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
        assert not peer.has(digest)
    else:
        assert identity
        assert answer == len(data)
        assert peer.read(digest) == data


def test_an_instance_that_is_not_served_is_refused(peer: Peer) -> None:
    with refused(grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT, naming="a/b/c"):
        list(peer.pieces(read_name(DIGEST, instance="a/b/c")))


def test_functions_that_are_told_by_length_are_not_named(peer: Peer) -> None:
    # REAPI rule: the segment is left out for SHA256, SHA1 and others.
    stored = peer.put_one(unique())
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="sha256"):
        list(peer.pieces(f"blobs/sha256/{stored.hash}/{stored.size_bytes}"))
