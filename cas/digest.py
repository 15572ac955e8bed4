"""The names of blobs."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from io import FileIO
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from blake3 import blake3

from cas.git_sha1 import GitSha1, SizeMismatch
from cas.sha256_tree import Sha256Tree


class Hasher(Protocol):
    """What hashlib's hashers, blake3's and our own have in common."""

    def update(self, data: bytes | bytearray | memoryview, /) -> object: ...

    def digest(self) -> bytes: ...

    def hexdigest(self) -> str: ...


class DigestFunction(StrEnum):
    """A way to name bytes. Two functions of one length are two key spaces.

    Source: remote_execution.proto, message DigestFunction.
    """

    SHA256 = "sha256"
    SHA1 = "sha1"
    MD5 = "md5"
    SHA384 = "sha384"
    SHA512 = "sha512"
    SHA256TREE = "sha256tree"
    BLAKE3 = "blake3"
    GITSHA1 = "gitsha1"

    __hash__ = str.__hash__  # Enum's own is Python code: it made sets of digests 4 times slower

    def hasher(self, size: int) -> Hasher:
        """Return a hasher of `size` bytes. GITSHA1's has no hash of any other number of them."""
        make = _HASHERS.get(self)
        return make() if make else GitSha1(size)

    @property
    def hex_length(self) -> int:
        """Characters of a hash in hexadecimal."""
        return _HEX_LENGTHS[self]


_HASHERS: dict[DigestFunction, Callable[[], Hasher]] = {
    DigestFunction.SHA256: hashlib.sha256,
    DigestFunction.SHA1: hashlib.sha1,
    DigestFunction.MD5: partial(hashlib.md5, usedforsecurity=False),
    DigestFunction.SHA384: hashlib.sha384,
    DigestFunction.SHA512: hashlib.sha512,
    DigestFunction.SHA256TREE: Sha256Tree,
    DigestFunction.BLAKE3: blake3,
}
_HEX_LENGTHS = {
    DigestFunction.SHA256: 64,
    DigestFunction.SHA1: 40,
    DigestFunction.MD5: 32,
    DigestFunction.SHA384: 96,
    DigestFunction.SHA512: 128,
    DigestFunction.SHA256TREE: 64,
    DigestFunction.BLAKE3: 64,
    DigestFunction.GITSHA1: 40,
}
_FORMS = {
    function: re.compile(f"[0-9a-f]{{{length}}}") for function, length in _HEX_LENGTHS.items()
}
MAX_BLOB_BYTES = (1 << 63) - 1  # the wire's type for sizes is int64
FILE_CHUNK_BYTES = 1 << 20


class InvalidDigest(ValueError):
    """Names nothing: the hash has the wrong form, or the size is negative."""


class Digest(NamedTuple):
    """The name of one blob: what its bytes hash to, how many they are, and by which function.

    hash: lowercase hexadecimal, as long as the function makes it.
    size: bytes, at least 0.

    A tuple, not a dataclass: a request can name 10,000 of them, and tuples hash 4 times faster.
    """

    hash: str
    size: int
    function: DigestFunction = DigestFunction.SHA256

    @classmethod
    def parse(cls, hash: str, size: int, function: DigestFunction) -> Self:
        """Check a name that came from outside; raise InvalidDigest if it names nothing.

        Source: remote_execution.proto, message Digest.
        """
        if not _FORMS[function].fullmatch(hash):
            raise InvalidDigest(
                f"digest hash {hash[:80]!r}: a {function} hash is {_HEX_LENGTHS[function]} "
                "lowercase hexadecimal characters"
            )
        if not 0 <= size <= MAX_BLOB_BYTES:
            raise InvalidDigest(f"digest size_bytes {size}: must be 0 or more")
        return cls(hash, size, function)

    @classmethod
    def of(
        cls,
        data: bytes | bytearray | memoryview,
        function: DigestFunction = DigestFunction.SHA256,
    ) -> Self:
        """Name `data`."""
        hasher = function.hasher(len(data))
        hasher.update(data)
        return cls(hasher.hexdigest(), len(data), function)

    @classmethod
    def of_file(cls, file: FileIO, function: DigestFunction) -> Self:
        """Name what is read from `file`, which is at its start.

        Raises OSError, and SizeMismatch for GITSHA1 if the file's size changes meanwhile.
        """
        hasher, size = function.hasher(os.fstat(file.fileno()).st_size), 0
        while chunk := file.read(FILE_CHUNK_BYTES):
            hasher.update(chunk)
            size += len(chunk)
        return cls(hasher.hexdigest(), size, function)

    @classmethod
    def of_path(cls, path: Path, function: DigestFunction) -> Self:
        """Name the contents of a file; raise what `of_file` raises."""
        with path.open("rb", buffering=0) as file:
            return cls.of_file(file, function)

    def found(self, hasher: Hasher, size: int) -> Digest:
        """Return what bytes are that were to be these: `size` of them, given to `hasher`.

        hasher: made for this digest. GITSHA1's has no hash of another size: then only the size of
        what is returned is right.
        """
        try:
            return Digest(hasher.hexdigest(), size, self.function)
        except SizeMismatch:
            return self._replace(size=size)

    def __str__(self) -> str:
        return f"{self.hash}/{self.size}"


EMPTY_HASHES = {function: Digest.of(b"", function).hash for function in DigestFunction}
