"""What the suite computes for itself, held against published vectors."""

from __future__ import annotations

import hashlib

import pytest

from conformance.fastcdc import chunk_sizes
from conformance.sha256tree import sha256tree


# sha256tree_test_vectors.txt of the Remote APIs: of the repeated bytes 0 to 250.
@pytest.mark.parametrize(
    ("size", "start"), [(1025, "36c0998b21839ef7"), (2048, "b584996386f01793"),
                        (2049, "7318d2029b0392ed")]
)  # fmt: skip
def test_sha256tree_is_as_published(size: int, start: str) -> None:
    data = (bytes(range(251)) * 10)[:size]
    assert sha256tree(data).hex().startswith(start)


def test_sha256tree_of_little_is_sha256() -> None:
    assert sha256tree(b"x" * 1024) == hashlib.sha256(b"x" * 1024).digest()


def test_chunks_are_all_of_the_blob_and_keep_their_bounds() -> None:
    data = hashlib.shake_256(b"conformance").digest(200_000)
    sizes = chunk_sizes(data, 4096)
    assert sum(sizes) == len(data)
    assert all(1024 <= size <= 4 * 4096 for size in sizes[:-1])
    shifted = chunk_sizes(b"more" + data, 4096)
    assert shifted[3:] == sizes[-len(shifted[3:]) :]
