"""Puts services on a gRPC server: requests parsed, errors told, calls measured, in one place."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from time import perf_counter
from types import TracebackType
from typing import Any, TypeAlias

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_status import rpc_status

from access.identity import EVERYBODY, current_identity
from re_client.status import fitted, to_status

log = logging.getLogger(__name__)

MAX_TRAILER_BYTES = 3000  # of a status, which is sent in two forms; clients take 8 KiB in all

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Finished = Callable[[str, str, float], object]
Parse = Callable[[bytes], Any]


class Registrar:
    """Stands in for a grpc.aio server while services are added to it.

    finished: called after each call with its method (`Service/Method`), status code and seconds.
    """

    def __init__(self, server: grpc.aio.Server, finished: Finished) -> None:
        self._server = server
        self._finished = finished
        self.services: list[str] = []

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Do nothing: generated code offers each service here too, without its parts' names."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Serve the methods of `service`, each inside `call` or `stream` below."""
        self.services.append(service)
        wrapped = {name: self._wrapped(service, name, each) for name, each in handlers.items()}
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, wrapped),)
        )

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

    def _wrapped(self, service: str, name: str, handler: Handler) -> Handler:
        method = f"{service.rpartition('.')[2]}/{name}"
        behaviour: Any = (
            handler.unary_unary
            or handler.unary_stream
            or handler.stream_unary
            or handler.stream_stream
        )
        raw = name in getattr(behaviour.__self__, "raw_methods", ())
        # Requests are parsed inside the guard, which can say what is wrong with them.
        parse = None if raw or handler.request_streaming else handler.request_deserializer
        make = _MAKERS[bool(handler.request_streaming), bool(handler.response_streaming)]
        guard = self._stream if handler.response_streaming else self._call
        streamed = handler.request_deserializer if handler.request_streaming else None
        return make(
            guard(method, behaviour, parse),
            request_deserializer=None if raw else streamed,
            response_serializer=None if raw else handler.response_serializer,
        )

    def _call(
        self, method: str, behaviour: Callable[[Any, Context], Awaitable[Any]], parse: Parse | None
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        finished = self._finished

        async def call(request: Any, context: Context) -> Any:
            async with _Reported(context, method, finished):
                return await behaviour(parse(request) if parse else request, context)

        return call

    def _stream(
        self,
        method: str,
        behaviour: Callable[[Any, Context], AsyncIterator[Any]],
        parse: Parse | None,
    ) -> Callable[[Any, Context], AsyncIterator[Any]]:
        finished = self._finished

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            async with _Reported(context, method, finished):
                async for reply in behaviour(parse(request) if parse else request, context):
                    yield reply

        return stream


_MAKERS: dict[tuple[bool, bool], Callable[..., Handler]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


class _Reported:
    """Ends a call with the status of whatever its block raises, and counts it."""

    __slots__ = ("_begun", "_context", "_finished", "_method")

    def __init__(self, context: Context, method: str, finished: Finished) -> None:
        self._context = context
        self._method = method
        self._finished = finished
        self._begun = perf_counter()

    async def __aenter__(self) -> None:
        current_identity.set(EVERYBODY)

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
