"""GetTree: the directories below a root, in pages that can be resumed."""

from __future__ import annotations

import base64
import binascii
from collections import deque
from collections.abc import AsyncIterator
from itertools import islice

from cas.digest import Digest
from cas.store import BlobNotFound, BlobStore
from cas.tree import TreeLimits, TreeTooLarge, children, parse_directory
from protos import remote_execution_pb2 as reapi
from re_client.status import Refused

PAGE_BYTES = 1 << 20  # of directories in one response; a message must stay under 4 MiB
READ_AT_ONCE = 256  # directories


async def pages(
    blobs: BlobStore, root: Digest, *, page_size: int, page_token: str, limits: TreeLimits
) -> AsyncIterator[reapi.GetTreeResponse]:
    """Yield the directories below `root`, breadth first, each once however often it is shared.

    page_size: directories in a response at most; 0 leaves it to the server. page_token: from an
    earlier response: the stream goes on after it. A directory that is not there is left out,
    with all that only it leads to. Every response but the last has a token.
    Raises BlobNotFound if the root is not there; Refused; InvalidMessage; TreeTooLarge.
    Source: remote_execution.proto, ContentAddressableStorage.GetTree.
    """
    if page_size < 0:
        raise Refused(f"page_size {page_size}: must be 0 or more")
    skipped = _position(page_token, root)
    page = reapi.GetTreeResponse()
    size, position = 0, 0
    async for directory, data_bytes in _walk(blobs, root, limits):
        position += 1
        if position <= skipped:
            continue
        full = page.directories and (
            size + data_bytes > PAGE_BYTES or len(page.directories) == page_size
        )
        if full:
            page.next_page_token = _token(position - 1, root)
            yield page
            page, size = reapi.GetTreeResponse(), 0
        page.directories.append(directory)
        size += data_bytes
    if position < skipped:
        raise Refused("page_token: it is past the end of this tree")
    yield page


async def _walk(
    blobs: BlobStore, root: Digest, limits: TreeLimits
) -> AsyncIterator[tuple[reapi.Directory, int]]:
    """Yield each directory once, with its size in bytes."""
    depths = {root: 1}  # on the shortest path: of directories that were seen
    waiting = deque([root])
    while waiting:
        batch = list(islice(waiting, READ_AT_ONCE))
        found = await _read(blobs, root, batch, limits)
        for digest in batch:
            waiting.popleft()
            if digest not in found:
                continue
            directory = parse_directory(found[digest], digest)
            for child in children(directory, root.function):
                if child not in depths:
                    depths[child] = depths[digest] + 1
                    waiting.append(child)
            _bound(root, limits, directories=len(depths), depth=depths[digest])
            yield directory, digest.size


async def _read(
    blobs: BlobStore, root: Digest, batch: list[Digest], limits: TreeLimits
) -> dict[Digest, bytes]:
    if sum(digest.size for digest in batch) > limits.bytes:
        raise TreeTooLarge(f"the directories of {root} have more than {limits.bytes} bytes")
    found = await blobs.read_many(batch)
    if root in batch and root not in found:
        raise BlobNotFound(root)
    return found


def _bound(root: Digest, limits: TreeLimits, *, directories: int, depth: int) -> None:
    if directories > limits.directories:
        raise TreeTooLarge(f"{root} has more than {limits.directories} directories")
    if depth > limits.depth:
        raise TreeTooLarge(f"{root} is more than {limits.depth} directories deep")


def _token(position: int, root: Digest) -> str:
    return base64.urlsafe_b64encode(f"{position} {root.hash[:16]}".encode()).decode()


def _position(token: str, root: Digest) -> int:
    """Return how many directories `token` says were sent; raise Refused if it is not of `root`."""
    if not token:
        return 0
    try:
        position, hash = base64.urlsafe_b64decode(token).decode().split(" ")
        if hash == root.hash[:16] and int(position) > 0:
            return int(position)
    except (ValueError, binascii.Error):
        pass
    raise Refused("page_token: it is not one that this server gave out for this root_digest")
