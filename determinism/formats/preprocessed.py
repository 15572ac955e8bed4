"""Preprocessed C and C++: where the input root is, and temporary names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from determinism.format import Conditions, Data, Edit, Format
from determinism.text_paths import path_edits

MARKER = re.compile(rb'# \d+ "(?:[^"\\\n]|\\.)*"(?: [1-4]){0,4}\r?\n')


def matches(head: bytes, tail: bytes, name: str) -> bool:
    return MARKER.match(head) is not None


def edits(data: Data, conditions: Conditions) -> Sequence[Edit]:
    """Find roots and temporary names, in line markers and in what __FILE__ gave."""
    return path_edits(data, conditions)


FORMAT = Format(
    name="preprocessed",
    version=1,
    harmless=False,
    rewrites="the input root of an action without a sandbox; names of temporary files, numbered in"
    " the order they are met",
    standard="GCC, The C Preprocessor, Preprocessor Output",
    preserves="line markers are for messages and debug information; the root that __FILE__ gave is"
    " gone with its action",
    declines="names and roots that stand in an input; files that are not text, or of over 64 MiB",
    matches=matches,
    edits=edits,
)
