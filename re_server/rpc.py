"""Puts services on a gRPC server: requests parsed, errors told, calls measured, in one place."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType
from typing import Any, TypeAlias

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_status import rpc_status

from access.identity import current_identity
from access.refusal import NotAuthenticated
from re_client.status import fitted, to_status
from re_server.gate import Gate, Metadata
from re_server.refusals import Refusal, Refusals

log = logging.getLogger(__name__)

MAX_TRAILER_BYTES = 3000  # of a status, which is sent in two forms; clients take 8 KiB in all

LARGE_BYTES = 64 * 1024  # replies above it are counted until they are sent

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Finished = Callable[[str, str, float], object]
Parse = Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class _Served:
    """A method. handler: for callers that are known. method: `Service/Method`."""

    method: str
    handler: Handler
    streams_in: bool
    streams_out: bool


class Registrar(grpc.GenericRpcHandler):
    """Stands in for a grpc.aio server while services are added, and finds the methods of calls.

    gate: what each call goes through before its method begins.
    finished: called after each call with its method (`Service/Method`), status code and seconds.
    """

    def __init__(self, gate: Gate, finished: Finished) -> None:
        self._gate = gate
        self._finished = finished
        self._methods: dict[str, _Served] = {}
        self.services: list[str] = []

    @property
    def methods(self) -> set[str]:
        """All that is served, as `Service/Method`."""
        return {served.method for served in self._methods.values()}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Do nothing: generated code offers each service here too, without its parts' names."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Serve the methods of `service`, each inside `call` or `stream` below.

        Raises KeyError for a method that is not in the table of what methods need.
        """
        self.services.append(service)
        for name, handler in handlers.items():
            self._methods[f"/{service}/{name}"] = self._wrapped(service, name, handler)

    def add_unary(self, descriptor: ServiceDescriptor, servicer: object) -> None:
        """Serve a service of unary methods, whose generated code only knows older servers."""
        self.add_registered_method_handlers(
            descriptor.full_name,
            {
                method.name: grpc.unary_unary_rpc_method_handler(
                    getattr(servicer, method.name),
                    request_deserializer=GetMessageClass(method.input_type).FromString,
                    response_serializer=GetMessageClass(method.output_type).SerializeToString,
                )
                for method in descriptor.methods
            },
        )

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """Find the method of a call of which only the headers have come.

        gRPC asks this in the task that answers the call, so that what is set here holds for it.
        """
        served = self._methods.get(handler_call_details.method)
        if served is None:
            return None
        if self._gate.authenticator is not None:
            metadata = handler_call_details.invocation_metadata
            identity = self._gate.known(metadata)
            if identity is None:
                return self._late(served, metadata)
            current_identity.set(identity)
        return served.handler

    def _late(self, served: _Served, metadata: Metadata) -> Handler:
        """Answer a call whose caller is yet to be found out.

        The request is not received before that, as a stream's messages are not: who may not send
        has none of the server's memory. On the wire the call is the same.
        """
        handler: Any = served.handler
        behaviour: Any = (
            handler.unary_unary
            or handler.unary_stream
            or handler.stream_unary
            or handler.stream_stream
        )

        async def found_out(requests: Any, context: Context) -> AsyncIterator[Any]:
            try:
                current_identity.set(await self._gate.authenticate(metadata))
            except (NotAuthenticated, ConnectionError):
                async with _Reported(context, served.method, self._finished, self._gate.refusals):
                    raise
            request = requests if served.streams_in else await anext(aiter(requests), b"")
            if served.streams_out:
                async for reply in behaviour(request, context):
                    yield reply
            else:
                yield await behaviour(request, context)

        return grpc.stream_stream_rpc_method_handler(
            found_out,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _wrapped(self, service: str, name: str, handler: Handler) -> _Served:
        method = f"{service.rpartition('.')[2]}/{name}"
        behaviour: Any = (
            handler.unary_unary
            or handler.unary_stream
            or handler.stream_unary
            or handler.stream_stream
        )
        streams_in, streams_out = bool(handler.request_streaming), bool(handler.response_streaming)
        raw = name in getattr(behaviour.__self__, "raw_methods", ())
        # Requests are parsed inside the guard, which can say what is wrong with them.
        parse = None if raw or streams_in else handler.request_deserializer
        guard = self._stream if streams_out else self._call
        streamed = handler.request_deserializer if streams_in else None
        guarded = _MAKERS[streams_in, streams_out](
            guard(method, behaviour, parse, streams_in=streams_in),
            request_deserializer=None if raw else streamed,
            response_serializer=None if raw else handler.response_serializer,
        )
        return _Served(method, guarded, streams_in, streams_out)

    def _call(
        self,
        method: str,
        behaviour: Callable[[Any, Context], Awaitable[Any]],
        parse: Parse | None,
        *,
        streams_in: bool,
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        finished, gate = self._finished, self._gate
        admission, needed = gate.admission, gate.needed[method]

        async def call(request: Any, context: Context) -> Any:
            async with _Reported(context, method, finished, gate.refusals):
                identity = gate.caller(context)
                size = 0 if streams_in else len(request)
                admission.enter(identity, needed.cost, size)
                try:
                    if streams_in:
                        async with aclosing(gate.messages(identity, needed, request)) as messages:
                            return await behaviour(messages, context)
                    said = parse(request) if parse else request
                    gate.authorise(identity, needed, said)
                    reply = await behaviour(said, context)
                    if type(reply) is bytes and len(reply) > LARGE_BYTES:
                        gate.hold_until_sent(identity, len(reply), context)
                    return reply
                finally:
                    admission.leave(identity, size)

        return call

    def _stream(
        self,
        method: str,
        behaviour: Callable[[Any, Context], AsyncIterator[Any]],
        parse: Parse | None,
        *,
        streams_in: bool,
    ) -> Callable[[Any, Context], AsyncIterator[Any]]:
        finished, gate = self._finished, self._gate
        admission, needed = gate.admission, gate.needed[method]

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            async with _Reported(context, method, finished, gate.refusals):
                identity = gate.caller(context)
                size = 0 if streams_in else len(request)
                admission.enter(identity, needed.cost, size)
                try:
                    if streams_in:
                        said = gate.messages(identity, needed, request)
                    else:
                        said = parse(request) if parse else request
                        gate.authorise(identity, needed, said)
                    async for reply in behaviour(said, context):
                        if type(reply) is bytes:
                            came = len(reply)
                            admission.add(identity, came)
                            size += came
                            yield reply
                            admission.add(identity, -came)
                            size -= came
                        else:
                            yield reply
                finally:
                    admission.leave(identity, size)

        return stream


_MAKERS: dict[tuple[bool, bool], Callable[..., Handler]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


class _Reported:
    """Ends a call with the status of whatever its block raises, and counts it."""

    __slots__ = ("_begun", "_context", "_finished", "_method", "_refusals")

    def __init__(
        self, context: Context, method: str, finished: Finished, refusals: Refusals
    ) -> None:
        self._context = context
        self._method = method
        self._finished = finished
        self._refusals = refusals
        self._begun = perf_counter()

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        seconds = perf_counter() - self._begun
        if error is None:
            self._finished(self._method, "OK", seconds)
        elif isinstance(error, Exception) and not isinstance(error, grpc.aio.AbortError):
            if isinstance(error, Refusal):
                self._refusals.refused(self._method, self._context.peer(), error)
            status = fitted(to_status(error), MAX_TRAILER_BYTES)
            told = rpc_status.to_status(status)
            if told.code is grpc.StatusCode.INTERNAL:
                log.error("%s failed unexpectedly", self._method, exc_info=error)
            else:
                log.debug("%s: %s: %s", self._method, told.code.name, status.message)
            self._finished(self._method, told.code.name, seconds)
            await self._context.abort(told.code, told.details, told.trailing_metadata)
        elif isinstance(error, asyncio.CancelledError | GeneratorExit):
            self._finished(self._method, "CANCELLED", seconds)
