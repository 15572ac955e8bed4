"""gcc's coverage notes and counts: their stamp apart from the rest.

Source: gcc/gcov-io.h: magic, version, stamp, each of 32 bits.
"""

from __future__ import annotations

from determinism.attribution.part import Part, stretch

MAGICS = (b"oncg", b"adcg", b"gcno", b"gcda")


def split(data: bytes, most: int) -> list[Part]:
    return [
        stretch("version", data, 4, 8),
        stretch("stamp", data, 8, 12),
        stretch("records", data, 12, len(data)),
    ]
