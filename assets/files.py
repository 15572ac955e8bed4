"""Assets from folders of this machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from assets.fault import AssetNotFound, OriginFault, OriginRefused, OriginUnreachable
from assets.origins import Origins, Place

CHUNK_BYTES = 1 << 20


def open_file(place: Place, origins: Origins) -> int:
    """Open the file at `place`; return its descriptor. Raises an OriginFault.

    The list is asked about what was opened, not about its name: no symlink leads out of it.
    """
    origins.reach(place)
    file = _opened(place.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        check_real(place, Path(f"/proc/self/fd/{file}"), origins)
        _check_regular(place, file)
    except OriginFault:
        os.close(file)
        raise
    return file


def _check_regular(place: Place, file: int) -> None:
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise AssetNotFound(f"{place.path} is not a file")


def check_real(place: Place, link: Path, origins: Origins) -> None:
    """Raise OriginRefused unless what `link` leads to is on the list as `place` is."""
    real = Path(os.path.realpath(link))
    if real != place.path:
        origins.reach(Place(place.url.with_path(str(real)), real.parts[1:]))


def read_file(file: int) -> Iterator[bytes]:
    """Yield the bytes of an open file, and close it at the end."""
    try:
        while chunk := os.read(file, CHUNK_BYTES):
            yield chunk
    finally:
        os.close(file)


def _opened(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError):
        raise AssetNotFound(f"{path} is not there") from None
    except PermissionError:
        raise OriginRefused(f"{path} cannot be read by this server") from None
    except OSError as error:
        raise OriginUnreachable(f"{path}: {error.strerror}") from error
