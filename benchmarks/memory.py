"""Memory of the server while long blobs stream through it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path

from benchmarks import peers, servers
from benchmarks.corpus import MIB, Stream
from benchmarks.h2load import LoadFailed
from benchmarks.servers import Running
from benchmarks.table import Table
from protos import bytestream_pb2_grpc as bytestream_rpc

GIB = 1 << 30
STREAMS = 4  # in each direction


def run(folder: Path, *, stream_bytes: int = GIB, with_peers: bool = True) -> list[Table]:
    """Measure. folder: for the servers; it can be removed after. stream_bytes: whole MiB."""
    size = f"{stream_bytes // MIB:,} MiB"
    table = Table(
        "Server memory, in MB",
        f"Resident memory before, and at its highest while {STREAMS} blobs of {size} stream in and "
        f"{STREAMS} others stream out, all at once. The bar is 250. BuildGrid is not here: it "
        "keeps blobs in memory.",
        ["idle", "peak"],
    )
    started: list[Callable[[Path], AbstractContextManager[Running]]] = [servers.holdfast]
    if with_peers:
        started.append(peers.casd)
    for index, start in enumerate(started):
        with start(folder / f"server{index}") as server:
            table.rows[server.name] = _measured(server, stream_bytes)
    return [table]


def _measured(server: Running, stream_bytes: int) -> list[float]:
    idle = server.resident_bytes()
    there, new = ([Stream.make(stream_bytes) for _ in range(STREAMS)] for _ in range(2))
    with server.channel() as channel, ThreadPoolExecutor(2 * STREAMS) as threads:
        stub = bytestream_rpc.ByteStreamStub(channel)

        def write(stream: Stream) -> bool:
            return stub.Write(stream.writes()).committed_size == stream.size

        def read(stream: Stream) -> bool:
            hasher = sha256()
            for answer in stub.Read(stream.read_request()):
                hasher.update(answer.data)
            return hasher.hexdigest() == stream.digest.hash

        correct = list(threads.map(write, there))
        server.forget_peak()
        pending = [threads.submit(write, stream) for stream in new]
        pending += [threads.submit(read, stream) for stream in there]
        if not all([*correct, *(each.result() for each in pending)]):
            raise LoadFailed(f"{server.name}: a stream did not carry its blob")
    return [idle / 1e6, server.peak_resident_bytes() / 1e6]
