"""What a configuration may say of blobs that are handed out and taken in chunks."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from re_config.table import MIB, Count, Seconds, Table

KIB = 1 << 10


class FastCdc(Table, frozen=True):
    """The chunking function FAST_CDC_2020, which is also taken where a client names none.

    All clients of a cache should use the same values: chunks are shared only then.
    """

    average_bytes: Literal[
        1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576
    ] = 524288
    """Average size of chunks; the least is a quarter of it, the most four times it, and smaller
    blobs stay whole."""

    seed: Annotated[int, Meta(ge=0, lt=1 << 32)] = 0
    """What moves all cuts elsewhere."""


class RepMaxCdc(Table, frozen=True):
    """The chunking function REP_MAX_CDC."""

    min_bytes: Annotated[int, Meta(ge=64, le=4 * MIB)] = 256 * KIB
    """Least size of chunks; all are less than twice as large."""

    horizon_bytes: Annotated[int, Meta(ge=0, le=64 * MIB)] = 2 * MIB
    """How far is looked ahead for a better cut; 8 times min_bytes is recommended. A blob that is
    being cut takes eight bytes of memory for each."""


class Chunking(Table, frozen=True):
    """SplitBlob and SpliceBlob: large blobs by their chunks, which similar blobs share.

    Chunks are kept beside the blobs that they are of: what is split takes its room twice.
    """

    enabled: bool = True
    """Serve and announce both calls."""

    fast_cdc: FastCdc = field(default_factory=FastCdc)
    rep_max_cdc: RepMaxCdc = field(default_factory=RepMaxCdc)

    max_chunks: Count = 50_000
    """Most chunks of one blob. Blobs that might have more stay whole, and are not spliced from
    more. A chunk takes 72 bytes of a reply with SHA256, and most clients refuse replies of over
    4 MiB."""

    max_seconds: Seconds = 600
    """How long one call may take; DEADLINE_EXCEEDED after it."""

    max_concurrent: Count = 4
    """Blobs that are cut or put together at one time; others wait."""
