"""SHA256TREE, against the specification's vectors and its recursive definition."""

from __future__ import annotations

import hashlib
import os
import tracemalloc

import pytest
from hypothesis import given, settings, strategies

from cas.sha256_cipher import Parents, parents, parents_in_openssl, parents_in_python
from cas.sha256_tree import BATCH_BYTES, LEAF_BYTES, Sha256Tree

# Hashes of so many bytes of the sequence 0, 1, … 250, 0, 1, … Source: build/bazel/remote/
# execution/v2/sha256tree_test_vectors.txt of github.com/bazelbuild/remote-apis.
VECTORS = {
    1025: "36c0998b21839ef74300b9de47d96d1f62323dc81f2b4231e98ce70cd6ffe750",
    2048: "b584996386f01793751c5cf0c39561f51b7e9924b818943b3cb2f6928cea0fa9",
    2049: "7318d2029b0392edf4cf109edb5a086b4bdadbb7950f710a1483eb881d9e5d44",
    3072: "dfc61c0a041f79d55d53bfe31c6cda7df77fdc8e6fbac1143d70b7144fdf6937",
    3073: "517d20c0e5835f060a1bd6388ed68574f63424bdac2a2c3a35a5c2ef859d8fe2",
    4096: "2f72bb93880012168c027f6781527ff08177c7c8dccb443f4d2c6389c186633d",
    4097: "c3ec942c1b8f4580320d3a06bcf4f8fe1f5db2be797ab67061ea4c2a95f208f2",
    5120: "a76924f6535b4b473377c285ec27acc84cc58e95ab1e9e29b1bb6a4a3fb9d0b3",
    5121: "98f987c3e9fc057a70873715b679b89a663d0df806859b6ce73f8379b06a10ff",
    6144: "372f988af412041b680ab236feef45626380062beb7514bbf93607aedd28fc9a",
    6145: "6dc4b78efd770453417b2ffdc74b27054793efe6122ecd7ee098670ed7c4651c",
    7168: "43686312c0cabccf9d5ad509efa096e3d743c63c7a51f122473c57949e4dd9a0",
    7169: "ad729297ab36cd099665b27c4247474a5518e4cd0be443f5f31d95edda08429b",
    8192: "fcfdde6fe59178e17708c5ba647919c3b141a44c9d1970782e597e1465266932",
    8193: "113c6e3a2452f388b6fad13dfab66ee0bff597a0a9a517ad8d0165f7190b603e",
    16384: "a7a10149a8cb00be537000560edb83b196306b780b72fad8af218f369f75fc19",
    31744: "2cdf7662636c173d4b236f6ea03bf84c65e7f6487b53b2a61c420e26cf8a98c7",
    102400: "0668d69e5331840d2f1823d717b7b3f5d1fdc8a09504cddb692b87ff83d50e5f",
}
SEQUENCE = bytes(at % 251 for at in range(1 << 18))


def hashed(*pieces: bytes) -> str:
    hasher = Sha256Tree()
    for piece in pieces:
        hasher.update(piece)
    return hasher.hexdigest()


def by_recursion(data: bytes, parents: Parents = parents) -> bytes:
    """Return the hash as the specification defines it."""
    if len(data) <= LEAF_BYTES:
        return hashlib.sha256(data).digest()
    left = 1 << ((len(data) - 1).bit_length() - 1)
    return parents(by_recursion(data[:left], parents) + by_recursion(data[left:], parents))


@pytest.mark.parametrize("size", VECTORS)
def test_the_specifications_vectors(size: int) -> None:
    data = SEQUENCE[:size]
    assert hashed(data) == by_recursion(data).hex() == VECTORS[size]
    assert by_recursion(data, parents_in_python).hex() == VECTORS[size]


@pytest.mark.parametrize("size", [0, 1, 1023, 1024])
def test_up_to_a_leaf_it_is_sha_256(size: int) -> None:
    assert hashed(SEQUENCE[:size]) == hashlib.sha256(SEQUENCE[:size]).hexdigest()


@settings(max_examples=200, deadline=None, database=None)
@given(
    strategies.integers(0, 40 * LEAF_BYTES),
    strategies.lists(strategies.integers(0, 9000), max_size=30),
)
def test_pieces_in_any_cut_are_hashed_as_the_definition_says(size: int, cuts: list[int]) -> None:
    data, pieces, at = SEQUENCE[:size], [], 0
    for cut in cuts:
        pieces.append(data[at : at + cut])
        at += cut
    assert hashed(*pieces, data[at:]) == by_recursion(data).hex()


def test_more_than_one_batch_in_one_piece() -> None:
    data = os.urandom(2 * BATCH_BYTES + 5 * LEAF_BYTES + 7)
    assert hashed(data) == hashed(data[:3], data[3:]) == by_recursion(data).hex()


def test_a_hash_can_be_asked_for_on_the_way() -> None:
    hasher = Sha256Tree()
    for size in (0, 5, 1024, 3000, 8192, 8193):
        hasher.update(SEQUENCE[:size])
        assert hasher.digest() == hasher.digest()
    assert hasher.hexdigest() == hashed(b"".join(SEQUENCE[:n] for n in (5, 1024, 3000, 8192, 8193)))


def test_it_takes_the_forms_of_bytes_and_keeps_none_of_them() -> None:
    data = bytearray(SEQUENCE[:5000])
    hasher = Sha256Tree()
    hasher.update(memoryview(data)[:2500])
    hasher.update(data[2500:])
    data.clear()  # a buffer that is still looked at cannot be changed
    assert hasher.hexdigest() == hashed(SEQUENCE[:5000])


def test_memory_does_not_grow_with_what_is_hashed() -> None:
    hasher, piece = Sha256Tree(), bytes(1 << 20)
    hasher.update(piece)
    tracemalloc.start()
    try:
        for _ in range(32):
            hasher.update(piece)
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 10_000
    assert most < 1 << 20


@pytest.mark.parametrize("number", [1, 2, 3, 31, 32, 33, 500])
def test_openssl_and_python_agree(number: int) -> None:
    pairs = os.urandom(64 * number)
    in_python = parents_in_python(pairs)
    assert len(in_python) == 32 * number
    assert parents(pairs) == in_python
    assert b"".join(parents(pairs[at : at + 64]) for at in range(0, len(pairs), 64)) == in_python


def test_openssl_is_used_where_it_gives_its_cipher_away() -> None:
    assert (parents is parents_in_python) == (parents_in_openssl() is None)
