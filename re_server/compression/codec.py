"""What a compressor of the protocol is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from cas.digest import Digest
from cas.store import Chunk, DigestMismatch
from protos import remote_execution_pb2 as reapi

PART_BYTES = 256 * 1024  # what is decompressed at one time, more or less


class Encoder(ABC):
    """Makes one stream of a blob's bytes."""

    @abstractmethod
    def encode(self, data: bytes) -> bytes:
        """Return what is ready of the stream, if anything is; no more than `data` and a little."""

    @abstractmethod
    def end(self) -> bytes:
        """Return the rest of the stream."""


class Decoder(ABC):
    """Takes a stream apart as it comes in pieces, in memory that does not depend on what it says.

    Both methods raise Refused where the stream is none of the codec's, needs too much memory, or
    does not end where the data does.
    """

    @abstractmethod
    def decode(self, data: Chunk) -> Iterator[bytes]:
        """Yield what `data`, the next piece, stands for, in parts of bounded size."""

    @abstractmethod
    def end(self) -> None:
        """Check that the stream has ended."""


class Codec(ABC):
    """A compressor that blobs come and go in.

    name: as it stands in resource names. Source: remote_execution.proto, message Compressor.
    """

    name: ClassVar[str]
    number: ClassVar[reapi.Compressor.Value.ValueType]

    @abstractmethod
    def encoder(self, size: int) -> Encoder:
        """Return an encoder of `size` bytes, all of which are to be given to it."""

    @abstractmethod
    def decoder(self, part_bytes: int = PART_BYTES) -> Decoder:
        """Return a decoder. part_bytes: where it is to stop, as nearly as the codec can."""

    def pack(self, data: bytes) -> bytes:
        encoder = self.encoder(len(data))
        return encoder.encode(data) + encoder.end()

    def unpack(self, data: bytes, digest: Digest) -> bytes:
        """Return what `data` stands for, which is to be `digest`, and is not hashed here.

        Raises Refused, and DigestMismatch as soon as it is more than the digest has.
        """
        decoder = self.decoder(min(digest.size + 1, PART_BYTES))
        unpacked = bytearray()
        for part in decoder.decode(data):
            if (size := len(unpacked) + len(part)) > digest.size:
                raise DigestMismatch(expected=digest, found=digest._replace(size=size))
            unpacked += part
        decoder.end()
        return bytes(unpacked)
