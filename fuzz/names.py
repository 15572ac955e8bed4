"""Names, tokens and headers: what is accepted is what was given out, or could have been."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator

from cas.digest import Digest, DigestFunction, InvalidDigest
from cas.memory import MemoryStore
from cas.tree import TreeLimits
from cas.wire import RESERVED_SEGMENTS, digest_to
from fuzz.requests import ANY, HELD
from fuzz.target import Target
from protos import remote_execution_pb2 as reapi
from re_client.names import read_name, write_name
from re_client.status import Refused
from re_server.caller import MAX_CHARACTERS, parse_caller
from re_server.get_tree import pages
from re_server.log_streams import parse_log_name
from re_server.resource_name import Resource, parse_read, parse_write
from scheduler.limits import Limits
from scheduler.register import InvalidPageToken, Register

ROOT_CHILDREN = 3
ID = "0123456789abcdef" * 2


def resource_name(data: bytes) -> None:
    name = data.decode(errors="replace")
    for parse, form in ((parse_read, read_name), (parse_write, write_name)):
        try:
            resource = parse(name, ANY)
        except (Refused, InvalidDigest):
            continue
        assert RESERVED_SEGMENTS.isdisjoint(resource.instance.split("/"))
        assert f"{resource.digest.hash}/" in name
        plain = Resource(resource.instance, resource.digest, None)
        assert parse(form(resource.instance, resource.digest), ANY) == plain
        assert parse_log_name(name) is None, "a name of two things"


def _resource_names() -> Iterator[bytes]:
    for digest in HELD:
        for instance in ("", "main", "a/b"):
            yield read_name(instance, digest).encode()
            yield f"{instance}/uploads/7d/blobs/{digest}/file.txt".encode()
    blake3 = next(digest for digest in HELD if digest.function is DigestFunction.BLAKE3)
    yield f"main/compressed-blobs/zstd/{HELD[0]}".encode()
    yield f"main/uploads/7d/compressed-blobs/zstd/blake3/{blake3}".encode()


def log_name(data: bytes) -> None:
    text = data.decode(errors="replace")
    found = parse_log_name(text)
    if found is not None:
        assert text == (f"{found.name}/{found.token}" if found.token else found.name)
        resource_name(data)


def _log_names() -> Iterator[bytes]:
    for parent in ("", "main/", "a/b/"):
        yield f"{parent}logstreams/{ID}".encode()
        yield f"{parent}logstreams/{ID}/{ID}".encode()


async def page_token(data: bytes) -> None:
    text = data.decode(errors="replace")
    try:
        page = Register(Limits()).page(instance=None, page_size=0, token=text)
    except InvalidPageToken:
        pass
    else:
        assert not page.operations
    store, root = await _tree()
    going_on = pages(store, root, page_size=0, page_token=text, limits=TreeLimits())
    try:
        told = [page async for page in going_on]
    except Refused:
        return
    assert len(told) == 1
    assert not text or len(told[0].directories) < 1 + ROOT_CHILDREN


async def _tree() -> tuple[MemoryStore, Digest]:
    store, root = MemoryStore(), reapi.Directory()
    for name in map(str, range(ROOT_CHILDREN)):
        child = reapi.Directory(symlinks=[reapi.SymlinkNode(name=name, target=name)])
        root.directories.add(name=name, digest=digest_to(await _put(store, child)))
    return store, await _put(store, root)


async def _put(store: MemoryStore, directory: reapi.Directory) -> Digest:
    data = directory.SerializeToString(deterministic=True)
    await store.write_all(data, Digest.of(data))
    return Digest.of(data)


def _page_tokens() -> Iterator[bytes]:
    yield b""
    yield base64.urlsafe_b64encode((1).to_bytes(8, "big"))
    for page in asyncio.run(_small_pages()):
        yield page.next_page_token.encode()


async def _small_pages() -> list[reapi.GetTreeResponse]:
    store, root = await _tree()
    small = pages(store, root, page_size=1, page_token="", limits=TreeLimits())
    return [page async for page in small]


def request_metadata(data: bytes) -> None:
    caller = parse_caller(data)
    for text in (caller.invocation, caller.target, caller.mnemonic, caller.tool):
        assert len(text) <= MAX_CHARACTERS
        text.encode()  # the ledger keeps it as UTF-8


def _request_metadata() -> Iterator[bytes]:
    metadata = reapi.RequestMetadata(
        tool_invocation_id=ID,
        target_id="//some:target",
        action_mnemonic="CppCompile",
        action_id="a" * 64,
        tool_details=reapi.ToolDetails(tool_name="bazel", tool_version="8.0.0"),
    )
    yield metadata.SerializeToString()
    yield reapi.RequestMetadata(tool_invocation_id=ID).SerializeToString()


TARGETS = {
    "resource_name": Target(resource_name, _resource_names, max_bytes=300),
    "log_name": Target(log_name, _log_names, max_bytes=200),
    "page_token": Target(page_token, _page_tokens, max_bytes=100),
    "request_metadata": Target(request_metadata, _request_metadata),
}
