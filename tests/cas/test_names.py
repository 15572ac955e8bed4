from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from cas.digest import Digest, DigestFunction
from cas.names import Presence, cut, digest_in, framed, name_in
from cas.wire import digest_from
from protos import remote_execution_pb2 as reapi

SIZES = st.one_of(st.integers(1, 300), st.integers(1, (1 << 63) - 1))
HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)
DIGESTS = st.builds(lambda hash, size: reapi.Digest(hash=hash, size_bytes=size), HASHES, SIZES)
REQUESTS = st.builds(
    lambda instance, digests, function: reapi.FindMissingBlobsRequest(
        instance_name=instance, blob_digests=digests, digest_function=function
    ),
    # The tag and length of a name of 64 bytes are those of a hash: such are left to protobuf.
    st.text(max_size=40).filter(lambda name: len(name.encode()) != 64),
    st.lists(DIGESTS, min_size=1, max_size=20),
    st.sampled_from([0, 1, 9]),
)


@given(REQUESTS)
def test_a_request_in_the_usual_form_is_cut_into_what_it_says(
    request: reapi.FindMissingBlobsRequest,
) -> None:
    found = cut(request.SerializeToString(), function_field=3)
    assert found is not None
    assert found.instance == request.instance_name
    assert found.function == request.digest_function
    assert [digest_in(piece, DigestFunction.SHA256) for piece in found.pieces] == [
        digest_from(message, DigestFunction.SHA256) for message in request.blob_digests
    ]


@given(st.binary(max_size=300))
def test_any_bytes_are_cut_without_an_error(data: bytes) -> None:
    found = cut(data, function_field=3)
    if found is not None:
        for piece in found.pieces:
            name_in(piece)


@given(DIGESTS)
def test_a_framed_digest_is_field_2_of_an_answer(message: reapi.Digest) -> None:
    digest = digest_from(message, DigestFunction.SHA256)
    answer = reapi.FindMissingBlobsResponse.FromString(framed(digest))
    request = reapi.FindMissingBlobsRequest.FromString(framed(digest))
    assert list(answer.missing_blob_digests) == list(request.blob_digests) == [message]


def test_an_instance_name_that_is_framed_as_a_hash_is_left_to_protobuf() -> None:
    request = reapi.FindMissingBlobsRequest(
        instance_name="a" * 64, blob_digests=[reapi.Digest(hash="ab" * 32, size_bytes=5)]
    )
    assert cut(request.SerializeToString(), function_field=3) is None


def test_a_request_with_an_empty_blob_or_another_hash_length_is_left_to_protobuf() -> None:
    empty = Digest.of(b"")
    for digest in (
        reapi.Digest(hash=empty.hash),
        reapi.Digest(hash="ab" * 20, size_bytes=5),
        reapi.Digest(hash="AB" * 32, size_bytes=5),
    ):
        request = reapi.FindMissingBlobsRequest(blob_digests=[digest])
        found = cut(request.SerializeToString(), function_field=3)
        assert found is None or None in [name_in(piece) for piece in found.pieces]


NAME = b"\n@" + b"ab" * 32 + b"\x10"
LYING = {
    "a length that takes in the function": b"\x12\x46" + NAME + b"\x05\x18\x09",
    "a length of nothing": b"\x12\0" + NAME + b"\x05",
    "a length that cuts the size off": b"\x12\x44" + NAME + b"\x80\x80\x01",
    "a second hash in one digest": b"\x12\x46" + NAME + b"\x80\x80\x01" + NAME + b"\x05",
    "the length of one that does not follow": b"\x12\x44" + NAME + b"\x05\x12\x44",
    "nothing behind the first hash": b"\x12\0\n@" + NAME + b"\x05",
    "two lengths that changed places": b"\x12\x45%b\x05\x12\x44%b\x80\x01" % (NAME, NAME),
    "an instance name that is not UTF-8": b"\n\x01\xff\x12\x44" + NAME + b"\x05",
    "a length of two bytes": b"\n\x80\x01%b\x12\x44%b\x05" % (b"a" * 127, NAME),
    "a function whose number has no end": b"\x12\x44" + NAME + b"\x05\x18\x89",
}
"""Requests that look usual, and that protobuf finds something else in, or nothing."""


@pytest.mark.parametrize("request_bytes", LYING.values(), ids=LYING)
def test_a_request_that_is_other_than_it_looks_is_left_to_protobuf(request_bytes: bytes) -> None:
    found = cut(request_bytes, function_field=3)
    assert found is None or None in [name_in(piece) for piece in found.pieces]


def test_presence_forgets_everything_when_a_blob_goes_and_when_its_time_is_over() -> None:
    now = 0.0
    presence = Presence(seconds=10, clock=lambda: now)
    function = DigestFunction.SHA256
    presence.add(function, [b"one"], presence.generation)
    assert presence.known(function) == {b"one"}
    presence.forget()
    assert presence.known(function) == set()
    stale = presence.generation
    presence.forget()
    presence.add(function, [b"two"], stale)
    assert presence.known(function) == set()
    presence.add(function, [b"three"], presence.generation)
    now = 11.0
    assert presence.known(function) == set()
