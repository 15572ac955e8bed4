"""The chunks that a blob is to be made of, and what can be wrong with them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cas.digest import Digest

NAMED_CHARACTERS = 2000  # of missing chunks in a message, which has to fit into a call's trailers


class ChunksMissing(LookupError):
    """Chunks that a blob is to be made of are not in the store."""

    def __init__(self, digests: Collection[Digest]) -> None:
        missing = sorted(digests)
        named: list[str] = []
        for digest in missing:
            if sum(map(len, named)) >= NAMED_CHARACTERS:
                named.append(f"and {len(missing) - len(named)} more")
                break
            named.append(str(digest))
        super().__init__(
            f"chunk_digests: {len(missing)} chunks are not in the store, upload them first: "
            f"{', '.join(named)}"
        )
        self.digests = frozenset(digests)


class ChunksUnfit(ValueError):
    """Chunks that cannot be the blob, or are too many."""


def check_chunks(blob: Digest, chunks: Sequence[Digest], *, max_chunks: int) -> None:
    """Raise ChunksUnfit where it is seen by their sizes and number alone."""
    if len(chunks) > max_chunks:
        raise ChunksUnfit(
            f"chunk_digests: {len(chunks)} chunks are more than chunking.max_chunks = "
            f"{max_chunks}; make larger ones, or upload the blob with ByteStream"
        )
    if (total := sum(chunk.size for chunk in chunks)) != blob.size:
        raise ChunksUnfit(
            f"chunk_digests: the chunks have {total} bytes in all, and blob_digest says {blob.size}"
        )
