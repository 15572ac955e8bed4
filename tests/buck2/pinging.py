"""A bare HTTP/2 client that sends PING frames when it likes, as hyper's does.

gRPC's own clients in Python hold pings back, so that a server's bounds on them never show there.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from google.protobuf.message import Message
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

READ_BYTES = 1 << 16
PREFIX = struct.Struct(">BI")  # what stands before each gRPC message: compressed or not, length


@dataclass
class Stream:
    """One call, as far as it has come.

    trailers: with grpc-status in them, once they are there. broken: why it ended without them.
    """

    received: bytearray = field(default_factory=bytearray)
    trailers: dict[str, str] = field(default_factory=dict)
    broken: str = ""
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def messages(self) -> list[bytes]:
        """Return the whole messages that have come."""
        found, at = [], 0
        while at + PREFIX.size <= len(self.received):
            _, length = PREFIX.unpack_from(self.received, at)
            found.append(bytes(self.received[at + PREFIX.size : at + PREFIX.size + length]))
            at += PREFIX.size + length
        return found


class PingingConnection:
    """One connection. acknowledged: pings that were answered. goaway: what the server ended
    the connection with, if it did."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.acknowledged = 0
        self.goaway = ""
        self._reader = reader
        self._writer = writer
        self._http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._streams: dict[int, Stream] = {}
        self._authority = "{}:{}".format(*writer.get_extra_info("peername")[:2])

    async def greet(self) -> None:
        """Send what a connection begins with."""
        self._http.initiate_connection()
        await self._flush()

    async def serve(self) -> None:
        """Take in what the server sends, until it closes the connection."""
        try:
            while data := await self._reader.read(READ_BYTES):
                for event in self._http.receive_data(data):
                    self._take(event)
                await self._flush()
        except ConnectionError as error:
            self.goaway = self.goaway or str(error)
        self.goaway = self.goaway or "the server closed the connection"
        for stream in self._streams.values():
            if not stream.ended.is_set():
                stream.broken = self.goaway
                stream.ended.set()

    async def call(self, method: str, request: Message, *, open: bool = False) -> Stream:
        """Begin a call with one request.

        method: /package.Service/Method. open: more requests may follow, though none does.
        """
        stream_id = self._http.get_next_available_stream_id()
        self._streams[stream_id] = stream = Stream()
        self._http.send_headers(
            stream_id,
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", method),
                (":authority", self._authority),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
            ],
        )
        data = request.SerializeToString()
        self._http.send_data(stream_id, PREFIX.pack(0, len(data)) + data, end_stream=not open)
        await self._flush()
        return stream

    async def ping(self, *, times: int, interval_seconds: float) -> None:
        """Send pings, and stop early if the server ends the connection."""
        for number in range(times):
            if self.goaway:
                return
            self._http.ping(number.to_bytes(8, "big"))
            await self._flush()
            await asyncio.sleep(interval_seconds)

    def _take(self, event: Event) -> None:
        match event:
            case PingAckReceived():
                self.acknowledged += 1
            case ConnectionTerminated(error_code=code, additional_data=told):
                self.goaway = f"GOAWAY {code} {told or b''!r}"
            case DataReceived(stream_id=stream_id, data=data, flow_controlled_length=length):
                self._streams[stream_id].received += data
                self._http.acknowledge_received_data(length, stream_id)
            case TrailersReceived(stream_id=stream_id, headers=headers):
                self._streams[stream_id].trailers = {str(k): str(v) for k, v in headers}
            case StreamReset(stream_id=stream_id, error_code=code):
                self._streams[stream_id].broken = f"RST_STREAM {int(code)}"
                self._streams[stream_id].ended.set()
            case StreamEnded(stream_id=stream_id):
                self._streams[stream_id].ended.set()
            case _:
                pass  # settings, windows and headers, which the library sees to itself

    async def _flush(self) -> None:
        self._writer.write(self._http.data_to_send())
        await self._writer.drain()


@asynccontextmanager
async def pinging(address: str) -> AsyncIterator[PingingConnection]:
    """Connect to `address` (HOST:PORT) without TLS."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    connection = PingingConnection(reader, writer)
    await connection.greet()
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(connection.serve())
        try:
            yield connection
        finally:
            serving.cancel()
            writer.close()
