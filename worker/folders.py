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

MAX_DEPTH = 64  # of what is emptied in one go: deeper folders are moved up first


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
    pending = [str(folder)]
    while pending:
        moved: list[str] = []
        _empty(pending[-1], MAX_DEPTH, str(folder.parent), moved)
        pending.pop()
        pending += moved


def _empty(path: str, depth: int, above: str, moved: list[str]) -> None:
    """Remove the folder `path`; one that is `depth` below it is moved to `above` instead.

    So no path gets too long for the system, and no call too deep.
    """
    if depth == 0:
        target = f"{above}/{uuid.uuid4().hex}"
        _open_up(path)
        os.rename(path, target)  # noqa: PTH104 - strings, as everywhere in this walk
        moved.append(target)
        return
    _open_up(path)
    with os.scandir(path) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                _empty(entry.path, depth - 1, above, moved)
            else:
                os.unlink(entry.path)  # noqa: PTH108
    os.rmdir(path)  # noqa: PTH106


def _open_up(path: str) -> None:
    """Let this process list, empty and move the folder: an action may have forbidden it."""
    if stat.S_IMODE(os.lstat(path).st_mode) & stat.S_IRWXU != stat.S_IRWXU:
        os.chmod(path, stat.S_IRWXU)  # noqa: PTH101
