"""Digests as requests carry them."""

from __future__ import annotations

import pytest

from cas.digest import Digest, DigestFunction, InvalidDigest
from cas.wire import FROM_WIRE, TO_WIRE, digest_from, digest_to, function_from
from protos import remote_execution_pb2 as reapi

LONG, SHORT = "0" * 64, "0" * 40
SHA256, SHA1, BLAKE3 = DigestFunction.SHA256, DigestFunction.SHA1, DigestFunction.BLAKE3
SHA384, SHA512, MD5 = DigestFunction.SHA384, DigestFunction.SHA512, DigestFunction.MD5
SHA256TREE, GITSHA1 = DigestFunction.SHA256TREE, DigestFunction.GITSHA1


def test_every_function_has_a_number() -> None:
    assert set(TO_WIRE) == set(DigestFunction)
    for function, number in TO_WIRE.items():
        assert reapi.DigestFunction.Value.Name(number) == function.upper()
        assert FROM_WIRE[number] is function


@pytest.mark.parametrize("default", DigestFunction)
@pytest.mark.parametrize("function", DigestFunction)
def test_a_function_that_is_named_is_taken(
    function: DigestFunction, default: DigestFunction
) -> None:
    for hash in [LONG, SHORT, ""]:
        assert function_from(TO_WIRE[function], hash, default) is function


@pytest.mark.parametrize(
    ("hash", "default", "function"),
    [
        (LONG, SHA256, SHA256),
        (LONG, BLAKE3, BLAKE3),
        (LONG, SHA1, SHA256),
        (SHORT, SHA256, SHA1),
        (SHORT, BLAKE3, SHA1),
        (SHORT, SHA1, SHA1),
        (LONG, SHA256TREE, SHA256TREE),
        (SHORT, GITSHA1, GITSHA1),
        (SHORT, SHA256TREE, SHA1),
        (LONG, GITSHA1, SHA256),
        ("0" * 32, SHA256, MD5),
        ("0" * 96, SHA256, SHA384),
        ("0" * 128, SHA256, SHA512),
        ("0", BLAKE3, BLAKE3),
    ],
)
def test_a_function_that_is_left_out_follows_from_the_length_of_a_hash(
    hash: str, default: DigestFunction, function: DigestFunction
) -> None:
    # REAPI rule: MD5, SHA1, SHA256, SHA384 and SHA512 need not be named, each having a length.
    # Buck2 names none and may mean BLAKE3: the instance's own function wins where the length fits.
    assert function_from(0, hash, default) is function


@pytest.mark.parametrize("number", [4, 7, 11, 99, -1])
def test_a_function_that_is_not_served_is_refused_with_those_that_are(number: int) -> None:
    told = (
        f"digest_function {number} is not served here; use one of BLAKE3, GITSHA1, MD5, SHA1, "
        "SHA256, SHA256TREE, SHA384, SHA512"
    )
    with pytest.raises(InvalidDigest) as error:
        function_from(number, LONG, SHA256)
    assert str(error.value) == told


@pytest.mark.parametrize("function", DigestFunction)
def test_a_digest_goes_out_as_it_came_in(function: DigestFunction) -> None:
    digest = Digest.of(b"abc", function)
    message = digest_to(digest)
    assert message == reapi.Digest(hash=digest.hash, size_bytes=3)
    assert digest_from(message, function) == digest


def test_a_digest_from_outside_is_checked() -> None:
    for message in [
        reapi.Digest(),
        reapi.Digest(hash=LONG, size_bytes=-1),
        reapi.Digest(hash=SHORT, size_bytes=1),
    ]:
        with pytest.raises(InvalidDigest):
            digest_from(message, SHA256)
