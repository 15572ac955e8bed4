"""What safety costs: encryption, and comparing what is read with its checksums."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from statistics import median

import grpc
from xxhash import xxh3_64_digest

from benchmarks import servers
from benchmarks.corpus import MIB, Stream
from benchmarks.h2load import LoadFailed
from benchmarks.servers import Running
from benchmarks.table import Table
from cas.disk_files import CHUNK_BYTES, Filed, read_checked
from cas.wire import digest_to
from protos import (
    bytestream_pb2_grpc as bytestream_rpc,
    remote_execution_pb2 as reapi,
    remote_execution_pb2_grpc as rpc,
)
from tests.access.certificates import Authority

STREAM_BYTES = 64 * MIB
STREAMS = 4
CALLS = 3000
IN_FLIGHT = 16
MILLISECONDS = 1000

Kind = Callable[[grpc.Channel], int]
"""Makes calls; returns how many, or how many MiB they carried."""


def run(
    folder: Path, *, rounds: int = 3, stream_bytes: int = STREAM_BYTES, calls: int = CALLS
) -> list[Table]:
    """Measure. folder: for the servers; it can be removed after."""
    return [_tls(folder, rounds, stream_bytes, calls), _verification(folder, rounds, stream_bytes)]


def _tls(folder: Path, rounds: int, stream_bytes: int, calls: int) -> Table:
    table = Table(
        "TLS",
        f"CPU of the server in milliseconds, for a MiB of {STREAMS} streams of "
        f"{stream_bytes // MIB} MiB, and for a call of FindMissingBlobs with one digest, over one "
        "connection each. Rounds take turns; medians.",
        ["plain", "TLS", "TLS / plain"],
    )
    authority = Authority(folder / "authority")
    signed = authority.sign("server")
    settings = (
        "worker.enabled = false\n[server.tls]\n"
        f'certificate = "{signed.certificate}"\nkey = "{signed.key}"\n'
    )
    credentials = grpc.ssl_channel_credentials(authority.ca.pem)
    with (
        servers.holdfast(folder / "plain", "worker.enabled = false") as plain,
        servers.holdfast(folder / "tls", settings, credentials=credentials) as tls,
    ):
        stream = Stream.make(stream_bytes)
        for channel in (plain.channel(), tls.channel()):
            with channel:
                bytestream_rpc.ByteStreamStub(channel).Write(stream.writes())
        kinds: dict[str, Kind] = {
            "ByteStream.Write": lambda channel: _write(channel, stream_bytes),
            "ByteStream.Read": lambda channel: _read(channel, stream),
            "FindMissingBlobs 1": lambda channel: _ask(channel, stream, calls),
        }
        for name, kind in kinds.items():
            pairs = [(_cost(plain, kind), _cost(tls, kind)) for _ in range(rounds)]
            table.rows[name] = [
                median(one for one, _ in pairs),
                median(other for _, other in pairs),
                median(other / one for one, other in pairs),
            ]
    return table


def _cost(server: Running, kind: Kind) -> float:
    with server.channel() as channel:
        grpc.channel_ready_future(channel).result(servers.START_SECONDS)
        before = server.cpu_seconds()
        amount = kind(channel)
        return MILLISECONDS * (server.cpu_seconds() - before) / amount


def _write(channel: grpc.Channel, size: int) -> int:
    stub = bytestream_rpc.ByteStreamStub(channel)
    streams = [Stream.make(size) for _ in range(STREAMS)]
    with ThreadPoolExecutor(STREAMS) as threads:
        sent = list(threads.map(lambda each: stub.Write(each.writes()).committed_size, streams))
    if sent != [size] * STREAMS:
        raise LoadFailed(f"committed sizes {sent}")
    return STREAMS * size // MIB


def _read(channel: grpc.Channel, stream: Stream) -> int:
    stub = bytestream_rpc.ByteStreamStub(channel)

    def read(_: int) -> int:
        return sum(len(answer.data) for answer in stub.Read(stream.read_request()))

    with ThreadPoolExecutor(STREAMS) as threads:
        came = list(threads.map(read, range(STREAMS)))
    if came != [stream.size] * STREAMS:
        raise LoadFailed(f"{came} bytes came")
    return STREAMS * stream.size // MIB


def _ask(channel: grpc.Channel, stream: Stream, calls: int) -> int:
    stub = rpc.ContentAddressableStorageStub(channel)
    request = reapi.FindMissingBlobsRequest(blob_digests=[digest_to(stream.digest)])
    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        answers = list(threads.map(lambda _: stub.FindMissingBlobs(request), range(calls)))
    if any(answer.missing_blob_digests for answer in answers):
        raise LoadFailed("a blob that was uploaded is missing")
    return calls


def _verification(folder: Path, rounds: int, size: int) -> Table:
    """Read one file as the store does, and by the same calls without comparing anything."""
    folder.mkdir(parents=True, exist_ok=True)
    stream = Stream.make(size)
    kept = Filed(stream.digest, 0, b"".join(map(xxh3_64_digest, stream.chunks())))
    path = Path(kept.path(folder))
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.writelines(stream.chunks())
    hashed = Table(
        "Verification on read",
        f"CPU in milliseconds for a MiB of a file of {size // MIB} MiB that is in memory, read as "
        "the store reads it; beside the same reads with nothing compared, and with the blob's own "
        "SHA-256 in place of the checksums that are kept beside it. Medians.",
        ["milliseconds", "of it / nothing compared"],
    )
    kinds: dict[str, Callable[[], int]] = {
        "nothing compared": lambda: sum(map(len, _plain(path))),
        "checksums, as the store": lambda: sum(map(len, read_checked(folder, kept))),
        "SHA-256": lambda: _hashed(path),
    }
    costs: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, kind in kinds.items():
            before = time.process_time()
            if kind() != size:
                raise LoadFailed(f"{name}: not all was read")
            costs[name].append(MILLISECONDS * (time.process_time() - before) / (size // MIB))
    least = median(costs["nothing compared"])
    for name, measured in costs.items():
        hashed.rows[name] = [median(measured), median(measured) / least]
    return hashed


def _plain(path: Path) -> Iterator[bytes]:
    file = os.open(path, os.O_RDONLY)
    try:
        for start in range(0, os.fstat(file).st_size, CHUNK_BYTES):
            yield os.pread(file, CHUNK_BYTES, start)
    finally:
        os.close(file)


def _hashed(path: Path) -> int:
    hasher, size = sha256(), 0
    for chunk in _plain(path):
        hasher.update(chunk)
        size += len(chunk)
    hasher.digest()
    return size
