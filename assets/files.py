"""Assets from folders of this machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from assets.fault import AssetNotFound, OriginRefused, OriginUnreachable
from assets.origins import Origins, Place


def open_file(place: Place, origins: Origins) -> FileIO:
    """Open the file at `place` for reading; raise an OriginFault.

    The list is asked about what was found, not about its name: no symlink leads out of it. Until
    then nothing is opened but the place itself, which has no effect on what lies there.
    """
    origins.reach(place)
    with _faults(place):
        found = os.open(place.path, os.O_PATH | os.O_CLOEXEC)
        try:
            link = Path(f"/proc/self/fd/{found}")
            check_real(place, link, origins)
            _check_regular(place, found)
            return FileIO(str(link))
        finally:
            os.close(found)


def _check_regular(place: Place, file: int) -> None:
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise AssetNotFound(f"{place.path} is not a file")


def check_real(place: Place, link: Path, origins: Origins) -> None:
    """Raise OriginRefused unless what `link` leads to is on the list as `place` is."""
    real = Path(os.path.realpath(link))
    if real != place.path:
        origins.reach(Place(place.url.with_path(str(real)), real.parts[1:]))


@contextmanager
def _faults(place: Place) -> Iterator[None]:
    """Raise an OriginFault where the block meets an OSError."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise AssetNotFound(f"{place.path} is not there") from None
    except PermissionError:
        raise OriginRefused(f"{place.path} cannot be read by this server") from None
    except OSError as error:
        raise OriginUnreachable(f"{place.path}: {error.strerror}") from error
