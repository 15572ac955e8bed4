"""What all tables of a configuration have in common."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

MIB = 1 << 20
GIB = 1 << 30
HOUR = 3600

Count = Annotated[int, Meta(gt=0)]
Fraction = Annotated[float, Meta(gt=0, le=1)]
Seconds = Annotated[float, Meta(gt=0, le=10 * 365 * 24 * HOUR)]
Address = Annotated[str, Meta(pattern=r"^.+:\d{1,5}$", description="HOST:PORT; port 0: any free")]


class Table(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: its fields are all there may be."""
