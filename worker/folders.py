"""The worker's folder: what is in it, who owns it, and how it is emptied."""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from worker.process import to_its_end

log = logging.getLogger(__name__)

MAX_DEPTH = 12  # of what is emptied in one go: 12 names of 255 bytes are well below a path's 4096


class FolderTaken(RuntimeError):
    """Another worker uses the folder."""


@dataclass(frozen=True, slots=True)
class Folders:
    """Everything that a worker keeps lies below `path`.

    files: copies of inputs. actions: a folder for each action that is running.
    """

    path: Path

    @property
    def files(self) -> Path:
        return self.path / "files"

    @property
    def actions(self) -> Path:
        return self.path / "actions"

    @asynccontextmanager
    async def action(self) -> AsyncIterator[Path]:
        """Make a folder for one action; remove it and all in it, whatever happens."""
        # Its name is not to be guessed, and `actions` is not to be listed, by another action that
        # runs without a sandbox.
        folder = self.actions / uuid.uuid4().hex
        folder.mkdir()
        folder.chmod(0o711)
        try:
            yield folder
        finally:
            try:
                await to_its_end(lambda: remove(folder))
            except OSError as error:  # the action has its result, and the next start tries again
                log.warning("the folder of an action cannot be removed: %s", error)


@contextmanager
def opened(named: str) -> Iterator[Folders]:
    """Take the folder `named` for one worker, and remove what a killed one left there.

    Raises FolderTaken if it belongs to a worker that is alive.
    """
    path = Path(named).expanduser().resolve()
    folders = Folders(path)
    folders.files.mkdir(parents=True, exist_ok=True)
    lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderTaken(
                f"worker.path {path} is used by another worker: give each a folder of its own"
            ) from None
        if folders.actions.exists():
            remove(folders.actions)
        folders.actions.mkdir()
        folders.actions.chmod(0o711)
        folders.files.chmod(0o700)
        yield folders
    finally:
        os.close(lock)


def remove(folder: Path) -> None:
    """Remove `folder` and all in it, however deep it is and whatever modes it has.

    Nothing else may be changing it. Symbolic links are removed, not followed.
    """
    top = str(folder)
    while not _emptied(top, MAX_DEPTH, top):
        pass
    folder.rmdir()


def _emptied(path: str, depth: int, top: str) -> bool:
    """Empty the folder `path`, but for what is `depth` below it: that is moved to `top`.

    So no path gets too long for the system, and no call too deep. Returns whether nothing was
    moved.
    """
    _open_up(path)
    if depth == 0:
        os.rename(path, f"{top}/{uuid.uuid4().hex}")  # noqa: PTH104 - strings in the whole walk
        return False
    whole = True
    with os.scandir(path) as entries:
        for entry in list(entries):
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)  # noqa: PTH108
                continue
            whole = _emptied(entry.path, depth - 1, top) and whole
            if depth > 1:  # else it is what was moved
                os.rmdir(entry.path)  # noqa: PTH106
    return whole


def _open_up(path: str) -> None:
    """Let this process list, empty and move the folder: an action may have forbidden it."""
    if stat.S_IMODE(os.lstat(path).st_mode) & stat.S_IRWXU != stat.S_IRWXU:
        os.chmod(path, stat.S_IRWXU)  # noqa: PTH101
