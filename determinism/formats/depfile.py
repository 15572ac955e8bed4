"""Dependency files, as compilers write them for make: temporary names, and the input root."""

from __future__ import annotations

import re
from collections.abc import Sequence

from determinism.format import Conditions, Data, Declined, Edit, Format
from determinism.text_paths import path_edits

NAME = re.compile(r".*\.(?:d|dd|dep|deps|[TP]?P?l?o\.d|Po|Plo|Tpo)", re.DOTALL)
START = re.compile(rb"\s*[^\s:#=][^\t\n:#=]*:[ \t\\\r\n]")
RULE = re.compile(rb"(?:[^\s:#=][^\t:=]*:(?:[ \t].*)?|[ \t]*|#.*)\r?")


def matches(head: bytes, tail: bytes, name: str) -> bool:
    return NAME.fullmatch(name) is not None and START.match(head) is not None


def edits(data: Data, conditions: Conditions) -> Sequence[Edit]:
    """Find temporary names and roots, in a file that is nothing but rules without commands."""
    found = path_edits(data, conditions)
    if found:
        _check_rules(data)
    return found


def _check_rules(data: Data) -> None:
    joined = data[:].replace(b"\\\r\n", b" ").replace(b"\\\n", b" ")
    if not all(RULE.fullmatch(line) for line in joined.split(b"\n")):
        raise Declined("it has lines that are no rules")


FORMAT = Format(
    name="depfile",
    version=1,
    harmless=False,
    rewrites="names of temporary files, numbered in the order they are met; the input root of an"
    " action without a sandbox",
    standard="POSIX make, Target Rules; GCC, option -MD",
    preserves="a temporary file is gone when its compiler ends, and the input root with its action",
    declines="names and roots that stand in an input; files with anything but rules without"
    " commands, or of over 64 MiB",
    matches=matches,
    edits=edits,
)
