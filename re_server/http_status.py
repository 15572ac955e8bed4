"""Facts to HTTP status codes, by way of the one table of codes."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web
from google.rpc.code_pb2 import Code

from cas.store import BlobTooLarge, StoreFull
from re_client.status import RETRY_SECONDS, Refused, to_status
from re_server.upload_limit import BlobOverLimit


class LengthRequired(Refused):
    """How many bytes a blob has is not said, and has to be."""


class TooLarge(Refused):
    """A request's body is over a bound."""


class UnsupportedEncoding(Refused):
    """A content coding that is not known here."""


# What HTTP tells apart and the table of codes does not.
_OWN: Mapping[type[Exception], HTTPStatus] = {
    LengthRequired: HTTPStatus.LENGTH_REQUIRED,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    BlobOverLimit: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnsupportedEncoding: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    BlobTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    StoreFull: HTTPStatus.INSUFFICIENT_STORAGE,
}
_STATUSES: Mapping[int, HTTPStatus] = {
    Code.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    Code.FAILED_PRECONDITION: HTTPStatus.PRECONDITION_FAILED,
    Code.RESOURCE_EXHAUSTED: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    Code.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}
_LATER = frozenset({HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.INSUFFICIENT_STORAGE})


def answer_of(error: Exception) -> web.Response:
    """Return the answer that says `error`; raise it if it is no fact that a client can use."""
    status = _OWN.get(type(error)) or _STATUSES.get(to_status(error).code)
    if status is None:
        raise error
    headers = {"Retry-After": str(RETRY_SECONDS)} if status in _LATER else {}
    return web.Response(status=status, text=f"{error}\n", headers=headers)
