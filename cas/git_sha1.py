"""The digest function GITSHA1: how Git names the contents of a file.

Source: remote_execution.proto, message DigestFunction.
"""

from __future__ import annotations

import hashlib


class SizeMismatch(ValueError):
    """A hasher that was made for so many bytes was given more or fewer."""

    def __init__(self, *, expected: int, found: int) -> None:
        super().__init__(f"{found} bytes were given, not {expected}")
        self.expected = expected
        self.found = found


class GitSha1:
    """A hasher, as hashlib's are, of `size` bytes: that number is hashed before they are.

    Raises SizeMismatch in place of a hash where it was given another number.
    """

    def __init__(self, size: int) -> None:
        self._hasher = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        self._size = size
        self._given = 0

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        self._hasher.update(data)
        self._given += len(data)

    def digest(self) -> bytes:
        if self._given != self._size:
            raise SizeMismatch(expected=self._size, found=self._given)
        return self._hasher.digest()

    def hexdigest(self) -> str:
        return self.digest().hex()
