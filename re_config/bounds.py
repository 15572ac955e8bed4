"""Bounds that a configuration sets, as the packages below take them."""

from __future__ import annotations

from cas.tree import TreeLimits
from re_config.schema import Limits


def tree_limits(limits: Limits) -> TreeLimits:
    return TreeLimits(
        depth=limits.tree_depth,
        directories=limits.tree_directories,
        nodes=limits.tree_entries,
        paths=limits.tree_paths,
    )
