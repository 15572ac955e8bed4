"""Bazel's HTTP cache protocol: blobs at /cas/HASH, results of actions at /ac/HASH.

Source: Bazel's documentation, "Remote caching", and what bazel-remote adds to it: instance names
before the kind, and zstd as a content coding of blobs.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

import zstandard
from aiohttp import StreamReader, web
from google.protobuf.message import DecodeError

from access.admission import Cost
from access.identity import Right
from action_cache.results import ActionKey
from cas.digest import Digest
from cas.disk import DiskStore
from cas.store import BlobNotFound
from protos import remote_execution_pb2 as reapi
from re_client.status import NotServed, Refused
from re_server.action_keys import ActionKeys
from re_server.caller import Caller
from re_server.compression.stream import compressed
from re_server.compression.zstd import Zstd
from re_server.http_status import LengthRequired, TooLarge, UnsupportedEncoding, answer_of
from re_server.instances import Instances
from re_server.overlay import Overlay
from re_server.result_uploads import ResultUploads
from re_server.upload_limit import UploadLimit
from re_server.web_access import WebAccess

ZSTD, IDENTITY = Zstd(), "identity"
SIZE_HEADER = "X-Digest-SizeBytes"  # bazel-remote's: the size of a blob that is sent compressed
TYPE = "application/octet-stream"
MAX_DIGITS = 18  # of a size
HEAD_BYTES = 18  # of a zstd frame: what its size can stand in
_PATH = re.compile(r"/(?:(?P<instance>.+)/)?(?P<kind>ac|cas)/(?P<hash>[^/]+)")
_REFUSES = re.compile(r"q=0(\.0*)?$")


# What is needed, and how early it is turned away, by kind and whether it is a PUT.
_NEEDED = {
    ("cas", False): ((Right.CAS_READ,), Cost.ORDINARY),
    ("cas", True): ((Right.CAS_WRITE,), Cost.HEAVY),
    ("ac", False): ((Right.CACHE_READ,), Cost.CHEAP),
    ("ac", True): ((Right.CACHE_WRITE, Right.CACHE_PROPOSE), Cost.HEAVY),
}


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names. digest: of 0 bytes, since paths say no size."""

    instance: str
    digest: Digest

    @property
    def action_key(self) -> ActionKey:
        return ActionKey(self.instance, self.digest)


Way = Callable[[web.Request, Target], Awaitable[web.StreamResponse]]


class HttpCache:
    """The same blobs and results as over gRPC, by the hash alone.

    A blob's size is looked up in the store. So is an action's: that of the entry when it is read,
    that of the Action's own blob when it is written. Where an instance takes results without
    Actions, and there is none, the size counts as 0.

    hit: told of each hit. answered: told of each answer, by method, kind and status.
    max_result_bytes: bound on an ActionResult. limit: on a blob's upload.
    """

    def __init__(
        self,
        instances: Instances,
        blobs: DiskStore,
        keys: ActionKeys,
        overlay: Overlay,
        uploads: ResultUploads,
        *,
        access: WebAccess,
        hit: Callable[[ActionKey], object],
        answered: Callable[[str, str, int], object],
        max_result_bytes: int,
        limit: UploadLimit,
    ) -> None:
        self._instances = instances
        self._blobs = blobs
        self._keys = keys
        self._overlay = overlay
        self._uploads = uploads
        self._access = access
        self._hit = hit
        self._answered = answered
        self._max_result_bytes = max_result_bytes
        self._limit = limit

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request of the cache: all pass here, before anything is looked up."""
        parts = _PATH.fullmatch(request.path)
        if parts is None:
            raise web.HTTPNotFound
        ways = self._ways(parts["kind"])
        if request.method not in ways:
            raise web.HTTPMethodNotAllowed(request.method, ways)
        rights, cost = _NEEDED[parts["kind"], request.method == "PUT"]
        instance = parts["instance"] or ""
        async with self._access.entered(request, rights, instance, cost):
            try:
                target = self._target(instance, parts["hash"])
                answer = await ways[request.method](request, target)
            except (LookupError, ValueError, DecodeError, OSError, RuntimeError) as error:
                answer = answer_of(error)
        self._answered(request.method, parts["kind"], answer.status)
        return answer

    def _ways(self, kind: str) -> Mapping[str, Way]:
        if kind == "ac":
            return {"GET": self._get_result, "HEAD": self._get_result, "PUT": self._put_result}
        return {"GET": self._get_blob, "HEAD": self._head_blob, "PUT": self._put_blob}

    def _target(self, instance: str, hash: str) -> Target:
        """Check what a path names; raise NotServed, Refused or InvalidDigest."""
        function = self._instances.function(instance, 0, hash)
        return Target(instance, Digest.parse(hash, 0, function))

    async def _get_result(self, request: web.Request, target: Target) -> web.Response:
        key = self._keys.to_read(target.action_key)
        found = await self._overlay.find(key)
        if found is None:
            raise NotServed(f"no result of action {target.digest.hash} is in the cache")
        if not found.own:
            self._hit(key)
        return web.Response(body=found.kept.serialised, content_type=TYPE)

    async def _put_result(self, request: web.Request, target: Target) -> web.Response:
        """Keep a result, as UpdateActionResult does."""
        result = reapi.ActionResult.FromString(await self._body(request))
        instance = self._instances.find(target.instance)
        key = self._keys.to_keep(target.action_key)
        await self._uploads.keep(key, result, instance, Caller(), replace=False)
        return web.Response()

    async def _body(self, request: web.Request) -> bytes:
        data = bytearray()
        async for chunk in request.content.iter_any():
            data += chunk
            if len(data) > self._max_result_bytes:
                raise TooLarge(f"an ActionResult may have {self._max_result_bytes} bytes")
        return bytes(data)

    async def _head_blob(self, request: web.Request, target: Target) -> web.Response:
        digest = self._named(target)
        if await self._blobs.find_missing([digest]):
            raise BlobNotFound(digest)
        return web.Response(headers={"Content-Length": str(digest.size)}, content_type=TYPE)

    async def _get_blob(self, request: web.Request, target: Target) -> web.StreamResponse:
        digest = self._named(target)
        response = web.StreamResponse(headers={"Content-Type": TYPE, "Vary": "Accept-Encoding"})
        if _accepts_zstd(request):
            response.headers["Content-Encoding"] = ZSTD.name
            chunks = self._blobs.read_packed(digest) or compressed(
                ZSTD, self._blobs.read(digest), digest.size
            )
        else:
            response.content_length = digest.size
            chunks = self._blobs.read(digest)
        async with aclosing(_started(chunks)) as started:
            await anext(started)  # raises BlobNotFound, while that can still be answered
            await response.prepare(request)
            whole = False
            try:
                async for chunk in started:
                    await response.write(chunk)
                whole = True
            finally:
                if not whole and request.transport is not None:
                    request.transport.abort()  # the only way left to say that it is not whole
        return response

    async def _put_blob(self, request: web.Request, target: Target) -> web.Response:
        """Take a blob in, whose bytes are held against its hash on the way."""
        coding = request.headers.get("Content-Encoding", IDENTITY).lower()
        if coding not in {IDENTITY, ZSTD.name}:
            raise UnsupportedEncoding(f"Content-Encoding {coding!r}: may be zstd or left out")
        content: AsyncIterator[bytes] = aiter(request.content.iter_any())
        size = _said_size(request) if SIZE_HEADER in request.headers else request.content_length
        if coding == ZSTD.name:
            head = await _head(request.content)
            size = size if SIZE_HEADER in request.headers else _frame_size(head)
            content = _decoded(head, content)
        if size is None:
            raise LengthRequired(f"say how large the blob is, in Content-Length or {SIZE_HEADER}")
        digest = Digest.parse(target.digest.hash, size, target.digest.function)
        self._limit.check(digest, target.instance, None)
        await self._blobs.write(digest, content)
        return web.Response()

    def _named(self, target: Target) -> Digest:
        found = self._blobs.named(target.digest.function, target.digest.hash)
        if found is None:
            raise NotServed(f"blob {target.digest.hash} is not in the store")
        return found


async def _started(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Yield nothing once the first chunk is there, and then all."""
    first = await anext(chunks, b"")
    yield b""
    if first:
        yield first
    async for chunk in chunks:
        yield chunk


def _accepts_zstd(request: web.Request) -> bool:
    """Source: RFC 9110, section 12.5.3."""
    for each in request.headers.get("Accept-Encoding", "").lower().split(","):
        coding, _, weight = each.replace(" ", "").partition(";")
        if coding == ZSTD.name:
            return not _REFUSES.fullmatch(weight)
    return False


def _said_size(request: web.Request) -> int:
    text = request.headers[SIZE_HEADER]
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise Refused(f"{SIZE_HEADER} {text[:40]!r}: must be a number of bytes")
    return int(text)


async def _head(content: StreamReader) -> bytes:
    """Read what the header of a zstd frame can have, or all there is."""
    head = b""
    while len(head) < HEAD_BYTES and (more := await content.read(HEAD_BYTES - len(head))):
        head += more
    return head


def _frame_size(head: bytes) -> int | None:
    """Return what a zstd frame says that it holds, if it does."""
    try:
        size = int(zstandard.frame_content_size(head))
    except zstandard.ZstdError as error:
        raise Refused(f"the body is not a zstd frame: {error}") from None
    return size if size >= 0 else None


async def _decoded(head: bytes, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    decoder = ZSTD.decoder()
    for part in decoder.decode(head):
        yield part
    async for chunk in content:
        for part in decoder.decode(chunk):
            yield part
    decoder.end()
