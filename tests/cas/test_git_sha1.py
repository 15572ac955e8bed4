"""GITSHA1, whose hash depends on the size that is said beforehand."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, strategies

from cas.digest import Digest, DigestFunction
from cas.git_sha1 import GitSha1, SizeMismatch
from cas.memory import MemoryStore
from cas.store import DigestMismatch
from tests.cas.stores import in_chunks


@pytest.mark.parametrize("size", [0, 1, 9, 10, 100_000])
def test_it_is_what_git_names_a_file(size: int) -> None:
    data = bytes(at % 251 for at in range(size))
    named = subprocess.run(
        ["git", "hash-object", "--stdin", "--no-filters"], input=data, capture_output=True,
        check=True,
    )  # fmt: skip
    assert Digest.of(data, DigestFunction.GITSHA1).hash == named.stdout.decode().strip()


@given(strategies.binary(max_size=100), strategies.integers(0, 100))
def test_another_number_of_bytes_has_no_hash(data: bytes, said: int) -> None:
    hasher = GitSha1(said)
    hasher.update(data[:3])
    hasher.update(data[3:])
    if said == len(data):
        assert hasher.hexdigest() == Digest.of(data, DigestFunction.GITSHA1).hash
    else:
        with pytest.raises(SizeMismatch, match=f"{len(data)} bytes were given, not {said}"):
            hasher.hexdigest()


async def test_a_hash_with_another_size_in_it_names_no_blob() -> None:
    # SHA-1 over "blob 4" and three bytes: right as a hash, but of no file that Git could have.
    hasher = GitSha1(4)
    hasher.update(b"abcd")
    false = Digest(hasher.hexdigest(), 3, DigestFunction.GITSHA1)
    for data in (b"abc", b"abcd"):
        with pytest.raises(DigestMismatch):
            await MemoryStore().write(false, in_chunks(data, 2))


def test_a_file_is_named_by_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 1_000_000)
    for function in DigestFunction:
        with path.open("rb", buffering=0) as file:
            assert Digest.of_file(file, function) == Digest.of(path.read_bytes(), function)


def test_a_file_that_does_not_have_the_bytes_of_its_size_has_no_name(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    with path.open("rb", buffering=0) as file:
        file.read(1)  # fewer bytes are left than its size says
        with pytest.raises(SizeMismatch):
            Digest.of_file(file, DigestFunction.GITSHA1)
