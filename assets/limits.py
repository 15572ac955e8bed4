"""Bounds on assets."""

from __future__ import annotations

from dataclasses import dataclass

from cas.tree import TreeLimits


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """How much an archive or a revision may unpack to.

    ratio: of unpacked bytes to packed ones, once they are more than RATIO_FLOOR_BYTES.
    """

    entries: int
    bytes: int
    ratio: int


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """max_bytes: of one asset as it comes. unpack: of what it becomes."""

    max_bytes: int
    unpack: UnpackLimits


@dataclass(frozen=True, slots=True)
class AssetLimits:
    """max_known: assets that are remembered. max_fetches: at one time.

    fresh_seconds: how long what may change at its origin is answered without asking there.
    """

    max_known: int
    max_fetches: int
    fresh_seconds: float
    fetch: FetchLimits
    tree: TreeLimits
