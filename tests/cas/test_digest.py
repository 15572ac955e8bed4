"""Names of blobs."""

from __future__ import annotations

import pytest

from cas.digest import EMPTY_HASHES, MAX_BLOB_BYTES, Digest, DigestFunction, InvalidDigest

# What each function makes of b"abc", by its own standard.
# Source: FIPS 180-4 (SHA-1, SHA-256, examples); the BLAKE3 authors' reference program.
ABC = {
    DigestFunction.SHA256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    DigestFunction.SHA1: "a9993e364706816aba3e25717850c26c9cd0d89d",
    DigestFunction.BLAKE3: "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
}
HASH = ABC[DigestFunction.SHA256]


@pytest.mark.parametrize("function", DigestFunction)
def test_a_digest_is_the_functions_hash_and_the_size(function: DigestFunction) -> None:
    assert Digest.of(b"abc", function) == (ABC[function], 3, function)
    assert Digest.parse(ABC[function], 3, function) == Digest.of(b"abc", function)
    assert len(ABC[function]) == function.hex_length
    assert Digest.of(b"", function).hash == EMPTY_HASHES[function]


@pytest.mark.parametrize(
    "hash",
    [
        "",
        HASH[:-1],
        HASH + "0",
        HASH.upper(),
        HASH[:-1] + "g",
        " " + HASH[1:],
        HASH + "\n",
        "é" * 64,
    ],
)
def test_a_hash_of_another_form_names_nothing(hash: str) -> None:
    # REAPI rule: a hash is lowercase hexadecimal of its function's length.
    told = "a sha256 hash is 64 lowercase hexadecimal characters"
    with pytest.raises(InvalidDigest, match=told):
        Digest.parse(hash, 3, DigestFunction.SHA256)


def test_the_length_is_the_functions_own() -> None:
    sha1, sha256 = ABC[DigestFunction.SHA1], ABC[DigestFunction.SHA256]
    for hash, function in [(sha1, DigestFunction.SHA256), (sha256, DigestFunction.SHA1)]:
        with pytest.raises(InvalidDigest):
            Digest.parse(hash, 3, function)


@pytest.mark.parametrize("size", [-1, -(1 << 63), MAX_BLOB_BYTES + 1])
def test_a_size_out_of_range_names_nothing(size: int) -> None:
    with pytest.raises(InvalidDigest, match=f"size_bytes {size}: must be 0 or more"):
        Digest.parse(HASH, size, DigestFunction.SHA256)


def test_the_largest_size_is_a_name() -> None:
    assert Digest.parse(HASH, MAX_BLOB_BYTES, DigestFunction.SHA256).size == MAX_BLOB_BYTES


def test_a_very_long_hash_is_not_repeated_in_full() -> None:
    with pytest.raises(InvalidDigest) as told:
        Digest.parse("x" * 1_000_000, 3, DigestFunction.SHA256)
    assert len(str(told.value)) < 300


def test_a_digest_is_shown_as_the_protocol_writes_it() -> None:
    assert str(Digest.of(b"abc")) == f"{HASH}/3"


def test_functions_of_one_length_make_different_names() -> None:
    names = {Digest(HASH, 3, function) for function in DigestFunction}
    assert len(names) == len(DigestFunction)


def test_hashers_take_bytes_in_parts() -> None:
    for function in DigestFunction:
        hasher = function.hasher()
        hasher.update(b"a")
        hasher.update(bytearray(b"b"))
        hasher.update(memoryview(b"c"))
        assert hasher.hexdigest() == hasher.digest().hex() == ABC[function]
