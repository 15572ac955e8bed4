"""JSON by key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice

from determinism.attribution.part import MAX_PARTS, Part, Unreadable

MAX_BYTES = 8 << 20
_MAX_DEPTH = 50


def split(data: bytes, most: int) -> list[Part]:
    """Take apart a document: a part for each value, named by the keys that lead to it.

    A value is given as it would be written, behind its key, so that it is seen what it is for.
    """
    if len(data) > min(MAX_BYTES, most):
        raise Unreadable("too large")
    try:
        parts = list(islice(_flat(json.loads(data), "", 0), MAX_PARTS + 1))
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from None
    if len(parts) > MAX_PARTS:
        raise Unreadable("too many values")
    return parts


def _flat(value: object, name: str, depth: int) -> Iterator[Part]:
    inner: Iterable[tuple[object, object]] = ()
    match value:
        case dict():
            inner = value.items()
        case list():
            inner = enumerate(value)
        case _:
            pass
    if not value or not inner or depth > _MAX_DEPTH:
        yield Part(name or "/", 0, 0, json.dumps(value).encode())
        return
    for key, each in inner:
        yield from _flat(each, f"{name}/{key}", depth + 1)
