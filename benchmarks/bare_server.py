"""The ceiling of this transport: a grpc.aio server that answers the same bytes from memory.

It neither reads a request nor builds an answer: no server on grpc.aio can be faster.
Run as `python -m benchmarks.bare_server PORT FOLDER`; FOLDER has the answers (see `write_answers`).
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

import grpc
import uvloop

from protos import bytestream_pb2 as bytestream

READ = "/google.bytestream.ByteStream/Read"
WRITE = "/google.bytestream.ByteStream/Write"
MESSAGE_BYTES = 1 << 20  # of 64 KiB to 4 MiB, what grpc.aio streams at the least CPU per byte
SERVER_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0))


def write_answers(
    folder: Path, unary: Mapping[str, bytes], *, read: Iterable[bytes], write_bytes: int
) -> None:
    """Lay down what the server answers.

    unary: the answer for each path (/package.Service/Method). read: messages of a Read.
    write_bytes: what a Write answers as committed_size.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path, answer in unary.items():
        (folder / f"{path.replace('/', '+')}.unary").write_bytes(answer)
    for index, message in enumerate(read):
        (folder / f"{index:06}.read").write_bytes(message)
    answer = bytestream.WriteResponse(committed_size=write_bytes).SerializeToString()
    (folder / "write").write_bytes(answer)


def _unary(answer: bytes) -> grpc.RpcMethodHandler[bytes, bytes]:
    async def reply(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return answer

    return grpc.unary_unary_rpc_method_handler(reply)


def _read(messages: list[bytes]) -> grpc.RpcMethodHandler[bytes, bytes]:
    async def reply(
        request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        for message in messages:  # `yield` took 25 % less CPU than `await context.write`
            yield message

    return grpc.unary_stream_rpc_method_handler(reply)


def _write(answer: bytes) -> grpc.RpcMethodHandler[bytes, bytes]:
    async def reply(
        requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> bytes:
        async for _ in requests:
            pass
        return answer

    return grpc.stream_unary_rpc_method_handler(reply)


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, handlers: Mapping[str, grpc.RpcMethodHandler[bytes, bytes]]) -> None:
        self._handlers = handlers

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        return self._handlers.get(handler_call_details.method)


def _handlers(folder: Path) -> dict[str, grpc.RpcMethodHandler[bytes, bytes]]:
    handlers = {
        file.stem.replace("+", "/"): _unary(file.read_bytes()) for file in folder.glob("*.unary")
    }
    handlers[READ] = _read([file.read_bytes() for file in sorted(folder.glob("*.read"))])
    handlers[WRITE] = _write((folder / "write").read_bytes())
    return handlers


async def serve(port: int, handlers: Mapping[str, grpc.RpcMethodHandler[bytes, bytes]]) -> None:
    """Serve on loopback until SIGTERM."""
    server = grpc.aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers((_Handlers(handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await server.start()
    await stop.wait()
    await server.stop(None)


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), _handlers(Path(sys.argv[2]))))
