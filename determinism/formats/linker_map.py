"""Linker maps: names of temporary objects, and where the input root is."""

from __future__ import annotations

from collections.abc import Sequence

from determinism.format import Conditions, Data, Edit, Format
from determinism.text_paths import path_edits

STARTS = (
    b"Archive member included ",  # GNU ld and gold
    b"As-needed library included ",
    b"Merging program properties",
    b"Discarded input sections",
    b"There are no discarded input sections",
    b"Allocating common symbols",
    b"Memory Configuration",
    b"Memory map",
    b"Linker script and memory map",
    b"VMA              LMA     Size Align Out     In      Symbol",  # LLD
    b"Address          Size Align Out     In      Symbol",
    b"VMA       Size Align Out     In      Symbol",  # mold
)


def matches(head: bytes, tail: bytes, name: str) -> bool:
    return head.lstrip().startswith(STARTS)


def edits(data: Data, conditions: Conditions) -> Sequence[Edit]:
    return path_edits(data, conditions)


FORMAT = Format(
    name="linker map",
    version=1,
    harmless=False,
    rewrites="names of temporary objects, numbered in the order they are met; the input root of an"
    " action without a sandbox",
    standard="GNU ld, option -Map; LLD, option --Map",
    preserves="a temporary object is gone when its linker ends: nothing can be read under its name",
    declines="names and roots that stand in an input; files that are not text, or of over 64 MiB",
    matches=matches,
    edits=edits,
)
