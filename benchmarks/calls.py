"""The calls that are measured: how each is made, and what a correct answer to it is."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from benchmarks import h2load
from benchmarks.corpus import BATCH, MIB, Corpus, Stream, check_updates, new_batch
from benchmarks.h2load import CONCURRENCY, FRAME_BYTES, LoadFailed
from benchmarks.servers import Running
from protos import (
    bytestream_pb2 as bytestream,
    bytestream_pb2_grpc as bytestream_rpc,
    remote_execution_pb2 as reapi,
)

PACKAGE = "/build.bazel.remote.execution.v2."
GET_RESULT = f"{PACKAGE}ActionCache/GetActionResult"
FIND_MISSING = f"{PACKAGE}ContentAddressableStorage/FindMissingBlobs"
BATCH_READ = f"{PACKAGE}ContentAddressableStorage/BatchReadBlobs"
BATCH_UPDATE = f"{PACKAGE}ContentAddressableStorage/BatchUpdateBlobs"
STREAMS = 4

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured. seconds: of each unary run. batches: uploads of new blobs."""

    rounds: int = 5
    seconds: float = 1.5
    stream_bytes: int = 64 * MIB
    batches: int = 150


QUICK = Size(rounds=1, seconds=0.05, stream_bytes=2 * MIB, batches=4)


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one row on one server. amount: calls or MiB. The rest: h2load.Load has it."""

    amount: float
    seconds: float
    p50_milliseconds: float = 0
    p99_milliseconds: float = 0
    cpu_seconds: float = 0


class Row(ABC):
    """One line of the table."""

    name: str
    unit: str

    @abstractmethod
    def prepare(self, server: Running) -> None:
        """Check the server's answers, and warm it up. Raises LoadFailed at a wrong answer."""

    @abstractmethod
    def drive(self, server: Running) -> Sample:
        """Make the calls, and check that they were answered. Raises LoadFailed."""


class Unary(Row):
    """A request sent over and over from outside Python."""

    unit = "calls"

    def __init__(
        self,
        name: str,
        path: str,
        request: Message,
        correct: Callable[[bytes], bool],
        *,
        folder: Path,
        size: Size,
    ) -> None:
        self.name = name
        self._path = path
        self._message = request.SerializeToString()
        self._correct = correct
        self._seconds = size.seconds
        self._file = folder / f"{name.replace(' ', '-')}.request"
        self._calls: dict[str, int] = {}
        h2load.write_request(self._file, self._message)

    def prepare(self, server: Running) -> None:
        self._answer_bytes(server)
        warm = h2load.run(server.address, self._path, self._file, seconds=1)
        self._calls[server.name] = max(
            2 * CONCURRENCY, int(warm.requests / warm.seconds * self._seconds)
        )

    def drive(self, server: Running) -> Sample:
        """h2load does not see gRPC's status, but an error has no data and would show there."""
        calls = self._calls[server.name]
        load = h2load.run(server.address, self._path, self._file, requests=calls)
        sizes = self._answer_bytes(server)
        if not min(sizes) <= load.data_bytes / calls <= max(sizes):
            raise LoadFailed(
                f"{self.name}, {server.name}: {load.data_bytes} bytes of answers to {calls} calls, "
                f"where one has {min(sizes)} to {max(sizes)}: some calls failed"
            )
        return Sample(calls, load.seconds, load.p50_milliseconds, load.p99_milliseconds)

    def _answer_bytes(self, server: Running) -> set[int]:
        """Check answers at the load's own concurrency; return their sizes on the wire."""
        with server.channel() as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(self._path)
            pending = [call.future(self._message) for _ in range(CONCURRENCY)]
            answers = [future.result() for future in pending]
        for answer in answers:
            if not self._correct(answer):
                raise LoadFailed(f"{self.name}, {server.name}: wrong answer {answer[:200]!r}")
        return {FRAME_BYTES + len(answer) for answer in answers}


class NewBatches(Row):
    """BatchUpdateBlobs of blobs that the server has not: from Python, as no two are alike."""

    name = f"BatchUpdateBlobs {BATCH} x 4 KiB (new)"
    unit = "calls"

    def __init__(self, size: Size) -> None:
        self._count = size.batches

    def prepare(self, server: Running) -> None:
        self._send(server, 2 * STREAMS)

    def drive(self, server: Running) -> Sample:
        return Sample(self._count, self._send(server, self._count))

    def _send(self, server: Running, count: int) -> float:
        """Return how long it took to send `count` batches, without making them."""
        requests = [new_batch().SerializeToString() for _ in range(count)]
        with server.channel() as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(BATCH_UPDATE)
            seconds, answers = _at_once(call, requests)
        for answer in answers:
            check_updates(reapi.BatchUpdateBlobsResponse.FromString(answer))
        return seconds


class Writes(Row):
    """ByteStream.Write of long blobs that the server has not, some at once."""

    unit = "MiB"

    def __init__(self, size: Size) -> None:
        self.name = f"ByteStream.Write {size.stream_bytes // MIB} MiB x {STREAMS}"
        self._bytes = size.stream_bytes

    def prepare(self, server: Running) -> None:
        self.drive(server)

    def drive(self, server: Running) -> Sample:
        streams = [Stream.make(self._bytes) for _ in range(STREAMS)]
        with server.channel() as channel:
            write = bytestream_rpc.ByteStreamStub(channel).Write
            seconds, answers = _at_once(lambda stream: write(stream.writes()), streams)
        if any(answer.committed_size != self._bytes for answer in answers):
            raise LoadFailed(f"{self.name}, {server.name}: {answers}")
        return Sample(STREAMS * self._bytes / MIB, seconds)


class Reads(Row):
    """ByteStream.Read of a long blob, some at once."""

    unit = "MiB"

    def __init__(self, stream: Stream, size: Size) -> None:
        self.name = f"ByteStream.Read {size.stream_bytes // MIB} MiB x {STREAMS}"
        self._stream = stream

    def prepare(self, server: Running) -> None:
        self.drive(server)

    def drive(self, server: Running) -> Sample:
        with server.channel() as channel:
            read = bytestream_rpc.ByteStreamStub(channel).Read
            request = self._stream.read_request()
            seconds, hashes = _at_once(lambda _: _hashed(read(request)), range(STREAMS))
        if set(hashes) != {self._stream.digest.hash}:
            raise LoadFailed(f"{self.name}, {server.name}: the bytes read are not the blob's")
        return Sample(STREAMS * self._stream.size / MIB, seconds)


def _at_once(call: Callable[[T], R], values: Iterable[T]) -> tuple[float, list[R]]:
    with ThreadPoolExecutor(STREAMS) as threads:
        begin = time.monotonic()
        results = list(threads.map(call, values))
        return time.monotonic() - begin, results


def _hashed(answers: Iterable[bytestream.ReadResponse]) -> str:
    hasher = sha256()
    for answer in answers:
        hasher.update(answer.data)
    return hasher.hexdigest()


def rows(corpus: Corpus, folder: Path, size: Size) -> list[Row]:
    """Return the table's lines; folder: for the requests."""

    def found(answer: bytes) -> bool:
        return not reapi.FindMissingBlobsResponse.FromString(answer).missing_blob_digests

    def hit(answer: bytes) -> bool:
        return reapi.ActionResult.FromString(answer).output_files == corpus.result.output_files

    def read(answer: bytes) -> bool:
        entries = reapi.BatchReadBlobsResponse.FromString(answer).responses
        whole = [entry.data for entry in entries if not entry.status.code]
        return sorted(whole) == sorted(corpus.blobs[:BATCH])

    def kept(answer: bytes) -> bool:
        check_updates(reapi.BatchUpdateBlobsResponse.FromString(answer))
        return True

    calls: list[tuple[str, str, Message, Callable[[bytes], bool]]] = [
        ("GetActionResult hit (4 files)", GET_RESULT, corpus.get_result(), hit),
        ("FindMissingBlobs 1", FIND_MISSING, corpus.find_missing(1), found),
        ("FindMissingBlobs 100", FIND_MISSING, corpus.find_missing(100), found),
        ("FindMissingBlobs 1000", FIND_MISSING, corpus.find_missing(1000), found),
        (f"BatchReadBlobs {BATCH} x 4 KiB", BATCH_READ, corpus.batch_read(), read),
        (f"BatchUpdateBlobs {BATCH} x 4 KiB (there)", BATCH_UPDATE, corpus.batch_update(), kept),
    ]
    return [
        *(Unary(*call, folder=folder, size=size) for call in calls),
        NewBatches(size),
        Reads(corpus.stream, size),
        Writes(size),
    ]
