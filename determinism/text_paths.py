"""What varies in paths within texts: names of temporary files, and where the input root is."""

from __future__ import annotations

import re
from bisect import bisect_right

from determinism.format import Conditions, Data, Declined, Edit
from determinism.temporary import PATH, Constants

MAX_TEXT_BYTES = 64 << 20
_PLAIN = re.compile(r"/[\w./@%+=,~-]*", re.ASCII)
"""Paths that stand for themselves in JSON, make rules, quotes and line markers."""
_PATH_ENDS = frozenset(b"/\"' \t\r\n\\,:;)]}>|&")
"""What a path of a folder ends with, where it stands in a text; another character goes on."""


def path_edits(data: Data, conditions: Conditions) -> list[Edit]:
    """Return the edits for temporary names and the input root.

    The length may change. Raises Declined if the text is too large, or there are too many names.
    """
    text = _text(data)
    roots = _root_edits(text, conditions)
    starts = [edit.start for edit in roots]
    constants = Constants(conditions.in_inputs)
    names = []
    for match in PATH.finditer(text):
        nearest = bisect_right(starts, match.start()) - 1
        if nearest >= 0 and roots[nearest].end > match.start():
            continue  # the root that is replaced may be a temporary folder
        edit = constants.edit(match)
        if edit:
            names.append(edit)
    return sorted([*roots, *names])


def root_edits(data: Data, conditions: Conditions) -> list[Edit]:
    """Return the edits that put the root at which an action runs for the one that it had.

    None where they are the same. Raises Declined if the text is too large or stands in an input,
    since then it need not be the root, or if a root can't be written as it is.
    """
    return _root_edits(_text(data), conditions) if conditions.seen_root else []


def _text(data: Data) -> bytes:
    """Return a file's text, copied, since bytes are searched faster. Raises Declined."""
    if len(data) > MAX_TEXT_BYTES:
        raise Declined(f"it has more than {MAX_TEXT_BYTES >> 20} MiB")
    text = data[:]
    if b"\0" in text:
        raise Declined("it is not text: it has a NUL")
    return text


def _root_edits(text: bytes, conditions: Conditions) -> list[Edit]:
    if not conditions.seen_root:
        return []
    seen, root = conditions.seen_root.encode(), conditions.root.encode()
    found = []
    at = text.find(seen)
    while at >= 0:
        end = at + len(seen)
        if end == len(text) or text[end] in _PATH_ENDS:
            found.append(Edit(at, end, root))
        at = text.find(seen, end)
    if found and not (_PLAIN.fullmatch(conditions.seen_root) and _PLAIN.fullmatch(conditions.root)):
        raise Declined("a root has characters that texts write in other ways")
    if found and conditions.in_inputs(seen):
        raise Declined("its root stands in an input")
    return found
