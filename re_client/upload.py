"""Many blobs, from this machine to a store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cas.chunks import FileChunks
from cas.digest import Digest
from cas.store import BlobStore, DigestMismatch
from re_client.parallel import each

SMALL_BYTES = 1 << 20  # blobs up to this size are sent in batches
HELD_BYTES = 16 << 20  # read into memory at one time
STREAMS = 4

OnBytes = Callable[[int], object]


class FileChanged(RuntimeError):
    """A file is not any more what it was when it was hashed."""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What was sent, since the store did not have it."""

    blobs: int
    bytes: int


async def upload(
    store: BlobStore,
    blobs: Mapping[Digest, bytes | Path],
    *,
    on_total: OnBytes = lambda total: None,
    on_bytes: OnBytes = lambda sent: None,
) -> Uploaded:
    """Send those of `blobs` that are missing.

    on_total: told once how many bytes these are. on_bytes: told each time that some are sent.
    Raises FileChanged, and what `write` raises.
    """
    missing = await store.find_missing(blobs)
    total = sum(digest.size for digest in missing)
    on_total(total)

    async def send_file(digest: Digest) -> None:
        path = blobs[digest]
        assert isinstance(path, Path)
        try:
            await store.write(digest, FileChunks(path))
        except DigestMismatch:
            raise FileChanged(f"{path} changed while it was uploaded: try again") from None
        on_bytes(digest.size)

    large = {one for one in missing if one.size > SMALL_BYTES and isinstance(blobs[one], Path)}
    for batch in batches(missing - large):
        await _send_batch(store, {digest: blobs[digest] for digest in batch})
        on_bytes(sum(digest.size for digest in batch))
    await each(send_file, sorted(large), width=STREAMS)
    return Uploaded(len(missing), total)


async def _send_batch(store: BlobStore, blobs: Mapping[Digest, bytes | Path]) -> None:
    held = {
        digest: data if isinstance(data, bytes) else await asyncio.to_thread(data.read_bytes)
        for digest, data in blobs.items()
    }
    for digest, error in (await store.write_many(held)).items():
        path = blobs[digest]
        if isinstance(error, DigestMismatch) and isinstance(path, Path):
            raise FileChanged(f"{path} changed while it was uploaded: try again") from None
        raise error


def batches(digests: Iterable[Digest]) -> Iterator[list[Digest]]:
    """Split `digests` so that HELD_BYTES hold the blobs of one batch, or one blob is a batch."""
    batch: list[Digest] = []
    held = 0
    for digest in sorted(digests):
        if batch and held + digest.size > HELD_BYTES:
            yield batch
            batch, held = [], 0
        batch.append(digest)
        held += digest.size
    if batch:
        yield batch
