"""The compressors that are served."""

from __future__ import annotations

from collections.abc import Collection

from re_client.status import Refused
from re_server.compression.brotli import Brotli
from re_server.compression.codec import Codec
from re_server.compression.deflate import Deflate
from re_server.compression.zstd import Zstd

CODECS: tuple[Codec, ...] = (Zstd(), Brotli(), Deflate())  # the one that costs least time first

_BY_NAME = {codec.name: codec for codec in CODECS}
_BY_NUMBER: dict[int, Codec] = {codec.number: codec for codec in CODECS}


def codec_named(name: str) -> Codec:
    """Return the codec that a resource name names; raise Refused."""
    if name not in _BY_NAME:
        raise Refused(f"compressor {name!r} is not served here; use one of {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def codec_numbered(number: int) -> Codec:
    """Return the codec that a message names, which is not IDENTITY; raise Refused."""
    if number not in _BY_NUMBER:
        served = ", ".join(name.upper() for name in _BY_NAME)
        raise Refused(f"{number} is not served here; use IDENTITY, {served}")
    return _BY_NUMBER[number]


def preferred(accepted: Collection[int]) -> Codec | None:
    """Return the first codec that is `accepted`, None if none is."""
    return next((codec for codec in CODECS if codec.number in accepted), None)
