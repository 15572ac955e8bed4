"""What the servers hold while they are measured, and the requests and answers that go with it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

import grpc

from cas.digest import Digest
from cas.wire import digest_to
from protos import (
    bytestream_pb2 as bytestream,
    bytestream_pb2_grpc as bytestream_rpc,
    remote_execution_pb2 as reapi,
    remote_execution_pb2_grpc as rpc,
)

MIB = 1 << 20
BLOBS = 1000
BLOB_BYTES = 4096
BATCH = 100
OUTPUTS = 4
MESSAGE_BYTES = MIB  # of the uploads


@dataclass(frozen=True, slots=True)
class Stream:
    """A blob made while it is sent: no two alike, not compressible, and cheap to make.

    salt: 16 bytes. Each MiB is the salt, its own number, and random bytes that streams share.
    """

    salt: bytes
    size: int
    digest: Digest

    @classmethod
    def make(cls, size: int) -> Stream:
        """Make a new one. size: whole MiB."""
        salt = uuid.uuid4().bytes
        hasher = sha256()
        for chunk in _chunks(salt, size):
            hasher.update(chunk)
        return cls(salt, size, Digest(hasher.hexdigest(), size))

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes, a MiB each."""
        return _chunks(self.salt, self.size)

    def writes(self) -> Iterator[bytestream.WriteRequest]:
        """Yield the messages that upload it."""
        name = f"uploads/{uuid.uuid4()}/blobs/{self.digest}"
        for index, chunk in enumerate(self.chunks()):
            offset = index * MIB
            yield bytestream.WriteRequest(
                resource_name=name if index == 0 else "",
                write_offset=offset,
                data=chunk,
                finish_write=offset + len(chunk) == self.size,
            )

    def read_request(self) -> bytestream.ReadRequest:
        return bytestream.ReadRequest(resource_name=f"blobs/{self.digest}")


_SHARED = os.urandom(MIB - 24)


def _chunks(salt: bytes, size: int) -> Iterator[bytes]:
    for index in range(size // MIB):
        yield salt + index.to_bytes(8, "big") + _SHARED


def new_batch() -> reapi.BatchUpdateBlobsRequest:
    """Return an upload of blobs that no server has."""
    return _batch([os.urandom(BLOB_BYTES) for _ in range(BATCH)])


def _batch(blobs: list[bytes]) -> reapi.BatchUpdateBlobsRequest:
    request = reapi.BatchUpdateBlobsRequest()
    for data in blobs:
        request.requests.add(digest=digest_to(Digest.of(data)), data=data)
    return request


class Corpus:
    """Blobs, one action with its result, and one long blob: the same for all servers of a run."""

    def __init__(self, *, stream_bytes: int) -> None:
        self.blobs = [os.urandom(BLOB_BYTES) for _ in range(BLOBS)]
        self.digests = [digest_to(Digest.of(data)) for data in self.blobs]
        self.stream = Stream.make(stream_bytes)
        root = reapi.Directory()
        command = reapi.Command(arguments=["true"])
        action = reapi.Action(
            command_digest=digest_to(Digest.of(command.SerializeToString())),
            input_root_digest=digest_to(Digest.of(root.SerializeToString())),
        )
        self._messages = [m.SerializeToString() for m in (root, command, action) if m.ByteSize()]
        self.action_digest = digest_to(Digest.of(action.SerializeToString()))
        self.result = reapi.ActionResult()
        for index, digest in enumerate(self.digests[:OUTPUTS]):
            self.result.output_files.add(path=f"out/file{index}.o", digest=digest)
        self.result.execution_metadata.worker = "benchmark"

    def find_missing(self, count: int) -> reapi.FindMissingBlobsRequest:
        return reapi.FindMissingBlobsRequest(blob_digests=self.digests[:count])

    def batch_read(self) -> reapi.BatchReadBlobsRequest:
        return reapi.BatchReadBlobsRequest(digests=self.digests[:BATCH])

    def batch_update(self) -> reapi.BatchUpdateBlobsRequest:
        return _batch(self.blobs[:BATCH])

    def get_result(self) -> reapi.GetActionResultRequest:
        return reapi.GetActionResultRequest(action_digest=self.action_digest)

    def batch_read_answer(self) -> reapi.BatchReadBlobsResponse:
        answer = reapi.BatchReadBlobsResponse()
        for digest, data in zip(self.digests[:BATCH], self.blobs, strict=False):
            answer.responses.add(digest=digest, data=data).status.SetInParent()
        return answer

    def batch_update_answer(self) -> reapi.BatchUpdateBlobsResponse:
        answer = reapi.BatchUpdateBlobsResponse()
        for digest in self.digests[:BATCH]:
            answer.responses.add(digest=digest).status.SetInParent()
        return answer

    def upload(self, channel: grpc.Channel) -> None:
        """Put everything on a server. Raises grpc.RpcError, or RuntimeError at a refused blob."""
        blobs = rpc.ContentAddressableStorageStub(channel)
        for begin in range(0, BLOBS, BATCH):
            check_updates(blobs.BatchUpdateBlobs(_batch(self.blobs[begin : begin + BATCH])))
        check_updates(blobs.BatchUpdateBlobs(_batch(self._messages)), len(self._messages))
        bytestream_rpc.ByteStreamStub(channel).Write(self.stream.writes())
        rpc.ActionCacheStub(channel).UpdateActionResult(
            reapi.UpdateActionResultRequest(
                action_digest=self.action_digest, action_result=self.result
            )
        )


def check_updates(answer: reapi.BatchUpdateBlobsResponse, count: int = BATCH) -> None:
    """Raise RuntimeError unless `count` blobs were taken."""
    refused = [entry for entry in answer.responses if entry.status.code]
    if refused or len(answer.responses) != count:
        raise RuntimeError(f"{len(answer.responses)} of {count} blobs answered: {refused[:3]}")
