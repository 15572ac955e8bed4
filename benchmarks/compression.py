"""What storing blobs compressed costs the server, and what it saves on the disk."""

from __future__ import annotations

import os
import random
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import zstandard

from benchmarks import servers
from benchmarks.corpus import MESSAGE_BYTES, MIB
from benchmarks.h2load import LoadFailed
from benchmarks.servers import Running
from benchmarks.table import Table
from cas.digest import Digest
from protos import bytestream_pb2 as bytestream, bytestream_pb2_grpc as bytestream_rpc

FUNCTIONS = 2500  # of the C file: some 4 MB when it is compiled with debug information
BLOBS = 8  # of each kind, written and read in a round
IDENTITY, ZSTD = "identity", "zstd"
CLIENT_LEVEL = 3  # of zstd, as Bazel's own
SETTINGS = {
    how: f'worker.enabled = false\nexecution.enabled = false\nstore.compression = "{how}"'
    for how in ("off", "zstd")
}


def run(
    folder: Path, *, functions: int = FUNCTIONS, blobs: int = BLOBS, rounds: int = 5
) -> list[Table]:
    """Measure. folder: for the servers; it can be removed after. functions: of the C file."""
    table = Table(
        "Blobs stored compressed",
        "Milliseconds of server CPU for each MiB of blobs that a client writes and reads, with "
        'store.compression "off" and "zstd", and what lies on the disk with the latter. '
        f"{blobs} new blobs of a kind in a round; clients send and take them as they are, or as "
        "zstd. Rounds take turns; medians, and the medians of the rounds' ratios.",
        ["MiB", "write, off", "write, zstd", "zstd / off", "read, off", "read, zstd",
         "zstd / off", "on disk, %"],
    )  # fmt: skip
    with ExitStack() as stack:
        running = {
            how: stack.enter_context(servers.holdfast(folder / how, settings))
            for how, settings in SETTINGS.items()
        }
        for kind, data in _kinds(folder, functions).items():
            for client in (IDENTITY, ZSTD):
                row = f"{kind}, {client} client"
                before = _disk_bytes(folder / ZSTD)
                times = [
                    {how: _round(server, data, client, blobs) for how, server in running.items()}
                    for _ in range(rounds)
                ]
                written = len(data) * blobs * rounds
                stored = 100 * (_disk_bytes(folder / ZSTD) - before) / written
                table.rows[row] = [len(data) / MIB, *_figures(times), stored]
    return [table]


def _figures(times: list[dict[str, tuple[float, float]]]) -> list[float]:
    """Return the medians of what rounds gave by setting: writing and its ratio, then reading."""
    figures: list[float] = []
    for what in (0, 1):
        off, on = ([each[how][what] for each in times] for how in SETTINGS)
        ratios = [b / a for a, b in zip(off, on, strict=True)]
        figures += [median(off), median(on), median(ratios)]
    return figures


def _round(server: Running, data: bytes, client: str, blobs: int) -> tuple[float, float]:
    """Write and read new blobs; return the milliseconds of CPU for each MiB of either."""
    made = [os.urandom(16) + data for _ in range(blobs)]
    with server.channel() as channel:
        stub = bytestream_rpc.ByteStreamStub(channel)
        uploads = [_upload(each, client) for each in made]
        milliseconds = 1000 / (sum(map(len, made)) / MIB)
        before = server.cpu_seconds()
        for upload in uploads:
            stub.Write(iter(upload))
        between = server.cpu_seconds()
        answers = [_received(stub, _name(each, client)) for each in made]
        after = server.cpu_seconds()
    if [_plain_bytes(answer, client) for answer in answers] != list(map(len, made)):
        raise LoadFailed(f"{server.name}: a blob was not read whole")
    return milliseconds * (between - before), milliseconds * (after - between)


def _upload(data: bytes, client: str) -> list[bytestream.WriteRequest]:
    """Return the messages that upload `data`."""
    sent = zstandard.ZstdCompressor(level=CLIENT_LEVEL).compress(data) if client == ZSTD else data
    return [
        bytestream.WriteRequest(
            resource_name=f"uploads/{uuid.uuid4()}/{_name(data, client)}" if start == 0 else "",
            write_offset=start,
            data=sent[start : start + MESSAGE_BYTES],
            finish_write=start + MESSAGE_BYTES >= len(sent),
        )
        for start in range(0, len(sent), MESSAGE_BYTES)
    ]


def _name(data: bytes, client: str) -> str:
    form = "blobs" if client == IDENTITY else "compressed-blobs/zstd"
    return f"{form}/{Digest.of(data)}"


def _received(stub: bytestream_rpc.ByteStreamStub, name: str) -> bytes:
    request = bytestream.ReadRequest(resource_name=name)
    return b"".join(answer.data for answer in stub.Read(request))


def _plain_bytes(answer: bytes, client: str) -> int:
    """Return how many bytes of a blob an answer is."""
    if client == IDENTITY:
        return len(answer)
    return len(zstandard.ZstdDecompressor().decompressobj().decompress(answer))


def _disk_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in (folder / "store" / "blobs").rglob("*-*"))


def _kinds(folder: Path, functions: int) -> dict[str, bytes]:
    """Return blobs as builds have them: what each is, and its bytes."""
    source = folder / "source.c"
    source.write_text("".join(_source(functions)))
    for name, options in (("debug.o", ("-g", "-O1", "-c")), ("text.i", ("-E",))):
        subprocess.run(["gcc", *options, source, "-o", folder / name], check=True)
    library = find_spec("grpc._cython.cygrpc")
    assert library is not None
    assert library.origin is not None
    return {
        "object with debug information": (folder / "debug.o").read_bytes(),
        "C source, preprocessed": (folder / "text.i").read_bytes(),
        "shared library": Path(library.origin).read_bytes(),
        "random bytes": os.urandom(8 * MIB),
    }


def _source(functions: int) -> Iterator[str]:
    """Yield C code whose parts differ as those of a program do."""
    chance = random.Random(1)
    yield "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"
    for number in range(functions):
        name = f"{chance.choice(_WORDS)}_{chance.choice(_WORDS)}_{number}"
        first, second, third = (chance.randrange(1, 1 << 20) for _ in range(3))
        yield (
            f"struct {name} {{ long {chance.choice(_WORDS)}_size; char *{chance.choice(_WORDS)};\n"
            f"  int count[{first % 50 + 1}]; struct {name} *next; }};\n"
            f"int {name}_sum(struct {name} *at, int limit) {{\n"
            f"  int sum = {first};\n"
            f"  for (; at && sum % {second} < limit; at = at->next) {{\n"
            f"    for (int i = 0; i < {first % 50 + 1}; i++) sum += at->count[i] * {third} ^ i;\n"
            f'    if (sum % {third % 97 + 2} == 0) printf("{name} %d of {second}\\n", sum);\n'
            f'    if (sum > {second}) sum -= (int)strlen(getenv("{name.upper()}"));\n'
            "  }\n  return sum;\n}\n"
        )


_WORDS = (
    "action", "archive", "block", "buffer", "cache", "chunk", "client", "digest", "entry", "error",
    "field", "frame", "handle", "header", "index", "input", "lease", "length", "limit", "list",
    "message", "node", "offset", "output", "packet", "page", "parser", "path", "pool", "queue",
    "reader", "record", "region", "result", "route", "scope", "segment", "session", "slot", "state",
    "stream", "symbol", "table", "target", "token", "tree", "vector", "window", "worker", "writer",
)  # fmt: skip
