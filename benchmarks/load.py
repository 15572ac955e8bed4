"""Calls per second of server CPU, server beside server."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

from google.protobuf.message import Message

from benchmarks import bare_server, h2load, peers, servers
from benchmarks.calls import (
    BATCH_READ,
    BATCH_UPDATE,
    FIND_MISSING,
    GET_RESULT,
    Row,
    Sample,
    Size,
    rows,
)
from benchmarks.corpus import Corpus
from benchmarks.servers import Running
from benchmarks.table import Table
from protos import bytestream_pb2 as bytestream, remote_execution_pb2 as reapi

Samples = dict[str, list[Sample]]  # of one row, by server


def _answers(corpus: Corpus, folder: Path) -> Path:
    """Write down for the bare server what the others answer; return the folder."""
    unary: dict[str, Message] = {
        GET_RESULT: corpus.result,
        FIND_MISSING: reapi.FindMissingBlobsResponse(),
        BATCH_READ: corpus.batch_read_answer(),
        BATCH_UPDATE: corpus.batch_update_answer(),
    }
    chunk = bare_server.MESSAGE_BYTES
    whole = b"".join(corpus.stream.chunks())
    bare_server.write_answers(
        folder,
        {path: message.SerializeToString() for path, message in unary.items()},
        read=(
            bytestream.ReadResponse(data=whole[begin : begin + chunk]).SerializeToString()
            for begin in range(0, len(whole), chunk)
        ),
        write_bytes=len(whole),
    )
    return folder


def start_all(
    stack: ExitStack, corpus: Corpus, folder: Path, *, with_peers: bool = True
) -> list[Running]:
    """Start the servers and fill them. They end with `stack`."""
    real = [stack.enter_context(servers.holdfast(folder / "holdfast", "worker.enabled = false"))]
    if with_peers:
        real.append(stack.enter_context(peers.buildgrid(folder / "buildgrid")))
        real.append(stack.enter_context(peers.casd(folder / "casd")))
        real.append(stack.enter_context(peers.bazel_remote(folder / "bazel-remote")))
    for server in real:
        with server.channel() as channel:
            corpus.upload(channel)
    return [stack.enter_context(servers.bare(_answers(corpus, folder / "bare"))), *real]


def measure(row: Row, running: Sequence[Running], rounds: int) -> dict[str, list[Sample]]:
    """Drive `row` on each server in turn, `rounds` times over."""
    samples: dict[str, list[Sample]] = {server.name: [] for server in running}
    for server in running:
        row.prepare(server)
    for _ in range(rounds):
        for server in running:
            before = server.cpu_seconds()
            sample = row.drive(server)
            cpu = server.cpu_seconds() - before
            samples[server.name].append(replace(sample, cpu_seconds=cpu))
    return samples


def run(folder: Path, size: Size, *, with_peers: bool = True) -> list[Table]:
    """Measure every row on every server. folder: for the servers; it can be removed after."""
    h2load.require()
    corpus = Corpus(stream_bytes=size.stream_bytes)
    with ExitStack() as stack:
        running = start_all(stack, corpus, folder, with_peers=with_peers)
        lines = rows(corpus, folder, size)
        measured = {row.name: measure(row, running, size.rounds) for row in lines}
    return tables(measured, [server.name for server in running])


def tables(measured: dict[str, Samples], names: Sequence[str]) -> list[Table]:
    """Make tables of the rows' medians. names: of the servers, the one to compare with first."""
    bare, ours, *others = names
    ratios = [(ours, other) for other in (bare, *others)]
    per_cpu = Table(
        "Calls (streams: MiB) per second of server CPU",
        "Medians over rounds in which the servers take turns; a ratio is the median of the rounds' "
        "ratios. Higher is better.",
        [*names, *(f"{ours} / {other}" for ours, other in ratios)],
    )
    per_second = Table(
        "The same per second of wall time", "Load and server share the machine.", names
    )
    delays = Table(
        "Milliseconds to the answer (median, 99th percentile)",
        f"At {h2load.CONCURRENCY} calls in flight, from h2load's log.",
        [f"{name} p{part}" for name in names for part in (50, 99)],
    )
    for row, samples in measured.items():
        per_cpu.rows[row] = [
            *(median(map(_cpu_rate, samples[name])) for name in names),
            *(_ratio(samples[one], samples[other]) for one, other in ratios),
        ]
        per_second.rows[row] = [median(s.amount / s.seconds for s in samples[n]) for n in names]
        if samples[ours][0].p50_milliseconds:
            delays.rows[row] = [
                median(part(sample) for sample in samples[name])
                for name in names
                for part in (_p50, _p99)
            ]
    return [per_cpu, per_second, delays]


def _cpu_rate(sample: Sample) -> float:
    return sample.amount / sample.cpu_seconds


def _ratio(one: Sequence[Sample], other: Sequence[Sample]) -> float:
    pairs = zip(one, other, strict=True)
    return median(_cpu_rate(a) / _cpu_rate(b) for a, b in pairs)


def _p50(sample: Sample) -> float:
    return sample.p50_milliseconds


def _p99(sample: Sample) -> float:
    return sample.p99_milliseconds
