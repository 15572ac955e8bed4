"""Names of blobs."""

from __future__ import annotations

import pytest

from cas.digest import EMPTY_HASHES, MAX_BLOB_BYTES, Digest, DigestFunction, InvalidDigest

# What each function makes of b"abc", by its own standard.
# Source: FIPS 180-4 (SHA-1, SHA-256, SHA-384, SHA-512, examples); RFC 1321, appendix A.5; the
# BLAKE3 authors' reference program; `git hash-object`. SHA256TREE is SHA-256 up to 1024 bytes.
ABC = {
    DigestFunction.SHA256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    DigestFunction.SHA1: "a9993e364706816aba3e25717850c26c9cd0d89d",
    DigestFunction.MD5: "900150983cd24fb0d6963f7d28e17f72",
    DigestFunction.SHA384: "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
    "8086072ba1e7cc2358baeca134c825a7",
    DigestFunction.SHA512: "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    DigestFunction.SHA256TREE: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    DigestFunction.GITSHA1: "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f",
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
        hasher = function.hasher(3)
        hasher.update(b"a")
        hasher.update(bytearray(b"b"))
        hasher.update(memoryview(b"c"))
        assert hasher.hexdigest() == hasher.digest().hex() == ABC[function]
