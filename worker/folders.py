"""The worker's folder: what is in it, who owns it, and how it is emptied."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import stat
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from worker.process import to_its_end

log = logging.getLogger(__name__)

MAX_DEPTH = 12  # of what is emptied in one go: 12 names of 255 bytes are well below a path's 4096


MEMORY_BYTES = 64 << 20  # room that is asked for where actions are to run in memory


class FolderTaken(RuntimeError):
    """Another worker uses the folder."""


@dataclass(frozen=True, slots=True)
class Folders:
    """Everything that a worker keeps lies below `path`.

    files: copies of inputs. actions: a folder for each action that is running. fixed: files that
    all actions are shown. shared: what actions are shown where they have nothing private.
    memory: a folder on tmpfs for actions, None where there is none. in_memory: all run there.
    """

    path: Path
    memory: Path | None = None
    in_memory: bool = False

    @property
    def files(self) -> Path:
        return self.path / "files"

    @property
    def actions(self) -> Path:
        return self.path / "actions"

    @property
    def fixed(self) -> Path:
        return self.path / "fixed"

    @property
    def shared(self) -> Path:
        return self.path / "shared"

    @asynccontextmanager
    async def action(self, *, ordered: bool = False) -> AsyncIterator[Path]:
        """Make a folder for one action; remove it and all in it, whatever happens.

        ordered: it is to list entries as they were made, so it is in memory, if there may be any.
        """
        within = self.actions
        if self.memory is not None and (ordered or self.in_memory):
            within = self.memory
            _make(within)
        # Its name is not to be guessed, and `actions` is not to be listed, by another action that
        # runs without a sandbox.
        folder = within / uuid.uuid4().hex
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
def opened(named: str, memory: Path | None = None, *, in_memory: bool = False) -> Iterator[Folders]:
    """Take the folder `named` for one worker, and remove what a killed one left there.

    memory, in_memory: see Folders. Raises FolderTaken if it belongs to a worker that is alive.
    """
    path = Path(named).expanduser().resolve()
    folders = Folders(path, memory and memory / memory_name(path), in_memory)
    folders.files.mkdir(parents=True, exist_ok=True)
    lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderTaken(
                f"worker.path {path} is used by another worker: give each a folder of its own"
            ) from None
        for folder in (folders.actions, folders.shared, folders.fixed):
            _clear(folder)
            _make(folder)
        folders.files.chmod(0o700)
        with _in_memory(folders) as usable:
            yield usable
    finally:
        os.close(lock)


@contextmanager
def _in_memory(folders: Folders) -> Iterator[Folders]:
    """Have the folder in memory empty, and gone afterwards; it is made when it is first needed.

    Anybody may make one of that name before. Raises FolderTaken then, if actions are to run there;
    else they do without it.
    """
    try:
        if folders.memory is not None:
            _clear(folders.memory)
    except FolderTaken as error:
        if folders.in_memory:
            raise
        log.warning("audits cannot vary the order of directories: %s", error)
        folders = replace(folders, memory=None)
    try:
        yield folders
    finally:
        if folders.memory is not None:
            _clear(folders.memory)


def _clear(folder: Path) -> None:
    """Remove `folder`, if it is there; raise FolderTaken if it is another user's."""
    if _there(folder):
        remove(folder)


def _make(folder: Path) -> None:
    """Have a folder that others can enter and not list; raise FolderTaken if it is another's."""
    if not _there(folder):
        folder.mkdir()
        folder.chmod(0o711)


def _there(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise FolderTaken(f"{folder} is no folder of this user's: remove it")
    return True


def memory_name(path: Path) -> str:
    """Return what the part in memory of the worker's folder `path` is called."""
    return f"holdfast-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}"


def memory_fault(folder: Path) -> str:
    """Say why actions cannot run below `folder` in memory; "" if they can."""
    if not folder.is_dir():
        return "there is no such folder"
    if not os.access(folder, os.W_OK | os.X_OK):
        return "this user cannot write there"
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    kinds = {line.split(" ")[1]: line.split(" ")[2] for line in mounts}  # the last mount counts
    inside = [point for point in kinds if f"{folder}/".startswith(f"{point.rstrip('/')}/")]
    if not inside or kinds[max(inside, key=len)] != "tmpfs":
        return "it is not on tmpfs"
    found = os.statvfs(folder)
    if found.f_flag & os.ST_NOEXEC:
        return "programs cannot be run from it (noexec)"
    room = found.f_bavail * found.f_frsize
    return "" if room >= MEMORY_BYTES else f"it has room for {room} bytes, not {MEMORY_BYTES}"


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
