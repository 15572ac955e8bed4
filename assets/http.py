"""Assets from HTTP servers."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from ipaddress import ip_address

import aiohttp
from yarl import URL

from assets.addresses import PublicResolver, check_public
from assets.fault import (
    AssetNotFound,
    ContentMismatch,
    OriginFault,
    OriginRefused,
    OriginUnreachable,
)
from assets.origins import Origins, Place, Reach

AGENT = "Holdfast"
MAX_REDIRECTS = 10
CONNECT_SECONDS = 30
CHUNK_BYTES = 1 << 18
SLICE_BYTES = 4096  # of compressed bytes decoded at a time: 4 MiB at the most
_REDIRECTS = frozenset(
    {
        HTTPStatus.MOVED_PERMANENTLY,
        HTTPStatus.FOUND,
        HTTPStatus.SEE_OTHER,
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
    }
)
_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_DENIED = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.PAYMENT_REQUIRED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
        HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS,
    }
)
_LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_COMPRESSED_NAMES = (".gz", ".tgz")


class HttpOrigins:
    """Fetches from the origins on the list; every redirect is held against it again.

    Neither proxies of the environment nor cookies are used. One session has a resolver that only
    knows public addresses; the other is for origins that may have any.
    """

    def __init__(self, origins: Origins, sessions: Mapping[Reach, aiohttp.ClientSession]) -> None:
        self._origins = origins
        self._sessions = sessions

    async def read(self, place: Place, headers: Mapping[str, str]) -> AsyncGenerator[bytes]:
        """Yield an asset's bytes; raise an OriginFault before the first or in between.

        headers: sent to the first server, and after a redirect only to the same one.
        """
        async with self._answer(place, headers) as (answer, found):
            try:
                async for chunk in _decoded(answer, found.url):
                    yield chunk
            except (aiohttp.ClientError, OSError) as error:
                raise OriginUnreachable(f"the transfer broke off: {_said(error)}") from error

    @asynccontextmanager
    async def _answer(
        self, place: Place, headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[aiohttp.ClientResponse, Place]]:
        first = place
        for _ in range(MAX_REDIRECTS + 1):
            own = headers if place.url.origin() == first.url.origin() else {}
            async with await self._get(place, own) as answer:
                if answer.status not in _REDIRECTS:
                    _check_status(answer)
                    yield answer, place
                    return
                place = _redirected(place, answer)
        raise OriginUnreachable(f"more than {MAX_REDIRECTS} redirects")

    async def _get(self, place: Place, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        reach = self._origins.reach(place)
        host = place.url.host or ""
        if reach is Reach.PUBLIC and _is_address(host):  # these are never resolved
            check_public(host, host)
        try:
            return await self._sessions[reach].get(
                place.url, headers=headers, allow_redirects=False
            )
        except aiohttp.ClientConnectorDNSError as error:
            raise OriginUnreachable(f"host {host} cannot be resolved: {_said(error)}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise OriginUnreachable(_said(error)) from error


@asynccontextmanager
async def http_origins(origins: Origins) -> AsyncIterator[HttpOrigins]:
    """Offer the origins on the list until the block ends."""
    async with _session(PublicResolver()) as public, _session(None) as private:
        yield HttpOrigins(origins, {Reach.PUBLIC: public, Reach.ANY: private})


def _session(resolver: PublicResolver | None) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=resolver),
        headers={"Accept-Encoding": "identity", "User-Agent": AGENT},
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        auto_decompress=False,
        trust_env=False,
    )


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _redirected(place: Place, answer: aiohttp.ClientResponse) -> Place:
    location = answer.headers.get("Location", "")
    try:
        target = Place.parse(str(place.url.join(URL(location))))
    except ValueError as error:
        raise OriginRefused(f"redirected to what is no usable place: {error}") from None
    if target.url.scheme not in {"http", "https"}:
        raise OriginRefused(f"redirected to {target.url.scheme}:, which is not HTTP")
    return target


def _check_status(answer: aiohttp.ClientResponse) -> None:
    status = answer.status
    if status == HTTPStatus.OK:
        return
    said = f"the server answers {status} {answer.reason or ''}".rstrip()
    fault: type[OriginFault] = ContentMismatch
    if status in _GONE:
        fault = AssetNotFound
    elif status in _DENIED:
        fault = OriginRefused
    elif status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        fault = OriginUnreachable
    raise fault(said)


async def _gunzipped(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Take gzip off, in parts of bounded size."""
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        async for chunk in chunks:
            for at in range(0, len(chunk), SLICE_BYTES):
                if part := stream.decompress(chunk[at : at + SLICE_BYTES]):
                    yield part
    except zlib.error as error:
        raise ContentMismatch(f"its Content-Encoding gzip cannot be read: {error}") from None
    if not stream.eof:
        raise ContentMismatch("its Content-Encoding gzip is cut short")


def _decoded(answer: aiohttp.ClientResponse, url: URL) -> AsyncIterator[bytes]:
    """Take off the transfer's own compression, which was not asked for.

    Some servers call a file that is a gzip archive encoded: as Bazel's own downloader does, a name
    that ends with .gz or .tgz is believed.
    """
    chunks = answer.content.iter_chunked(CHUNK_BYTES)
    encoding = answer.headers.get("Content-Encoding", "").strip().lower()
    if encoding in {"", "identity"} or url.path.endswith(_COMPRESSED_NAMES):
        return aiter(chunks)
    if encoding in {"gzip", "x-gzip"}:
        return _gunzipped(aiter(chunks))
    raise ContentMismatch(f"the server answers with Content-Encoding {encoding[:80]!r}")


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
