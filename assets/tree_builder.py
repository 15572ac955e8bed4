"""A tree of files that is unpacked from what a stranger made: checked, bounded, normalised."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from assets.fault import AssetNotFound, AssetTooLarge, ContentMismatch
from assets.limits import UnpackLimits
from cas.digest import Digest, DigestFunction
from cas.folder import Blobs, File, Folder, Link
from cas.git_sha1 import SizeMismatch

HELD_FILE_BYTES = 16 << 10  # files up to this size stay in memory
HELD_BYTES = 64 << 20  # of all of them together
MAX_NAME_BYTES = 255  # what file systems take
MAX_DEPTH = 256
MAX_TARGET_BYTES = 4095  # of a symlink, as Linux has it
MAX_FOLLOWED = 40  # symlinks on the way through one, likewise


class FetchEnded(Exception):
    """Nobody waits for the tree any more."""


class TreeBuilder:
    """Takes entries one by one, and makes a Folder of them, with their contents in `blobs`.

    folder: for the contents of larger files. ended: tells that there is no use in going on.
    What is kept of an entry is its name, contents, symlink target and whether its owner may execute
    it, so that one archive always gives one tree.
    """

    def __init__(
        self,
        folder: Path,
        function: DigestFunction,
        limits: UnpackLimits,
        ended: Callable[[], bool] = lambda: False,
    ) -> None:
        self._folder = folder
        self._function = function
        self._limits = limits
        self._ended = ended
        self._root = Folder()
        self._entries = 0
        self._bytes = 0
        self._held = 0
        self.blobs: Blobs = {}

    def directory(self, name: str) -> None:
        """Add a directory and those above it; it may be there."""
        self._count(name)
        self._below(_segments(name), name)

    def file(self, name: str, chunks: Iterable[bytes], *, executable: bool) -> None:
        self._count(name)
        self._put(name, File(self._kept(chunks), executable=executable))

    def link(self, name: str, target: str) -> None:
        """Add a symlink; where it leads is checked by `tree`, when everything is there."""
        self._count(name)
        if not target or "\0" in target or len(_encoded(target)) > MAX_TARGET_BYTES:
            raise ContentMismatch(f"symlink {name!r} has no usable target")
        self._put(name, Link(target))

    def hard_link(self, name: str, target: str) -> None:
        """Add a second name of a file that came before."""
        self._count(name)
        found = self._find(_segments(target))
        if not isinstance(found, File):
            raise ContentMismatch(f"{name!r} is a hard link to {target!r}, which is no file")
        self._put(name, found)

    def tree(self, directory: str = "") -> Folder:
        """Return the tree, or one directory of it.

        Raises AssetNotFound if that is not there, ContentMismatch where a symlink leaves it.
        """
        chosen = self._find(_segments(directory))
        if not isinstance(chosen, Folder):
            raise AssetNotFound(f"it has no directory {directory!r}")
        check_links(chosen)
        return chosen

    def _count(self, name: str) -> None:
        self._entries += 1
        if self._entries > self._limits.entries:
            raise AssetTooLarge(f"more than assets.max_entries = {self._limits.entries}")
        if self._ended():
            raise FetchEnded(name)

    def _put(self, name: str, entry: File | Link) -> None:
        *above, last = _segments(name) or [""]
        parent = self._below(above, name)
        if not last or last in parent.entries:
            raise ContentMismatch(f"{name!r} stands twice")
        parent.entries[last] = entry

    def _below(self, segments: list[str], name: str) -> Folder:
        if len(segments) > MAX_DEPTH:
            raise ContentMismatch(f"{name!r} lies deeper than {MAX_DEPTH} directories")
        folder = self._root
        for segment in segments:
            inner = folder.entries.setdefault(segment, Folder())
            if not isinstance(inner, Folder):
                raise ContentMismatch(f"{name!r} lies below what is no directory")
            folder = inner
        return folder

    def _find(self, segments: list[str]) -> File | Link | Folder | None:
        found: File | Link | Folder | None = self._root
        for segment in segments:
            found = found.entries.get(segment) if isinstance(found, Folder) else None
        return found

    def _kept(self, chunks: Iterable[bytes]) -> Digest:
        """Keep contents in memory or in a file; return their digest."""
        hasher, head, size = self._function.hasher(0), bytearray(), 0  # as many as come
        path = self._folder / str(self._entries)
        room = min(HELD_FILE_BYTES, HELD_BYTES - self._held)
        file = None
        try:
            for chunk in chunks:
                self._measure(len(chunk))
                hasher.update(chunk)
                size += len(chunk)
                head += chunk
                if size > room:
                    file = file or path.open("xb", buffering=0)
                    file.write(head)
                    head.clear()
        finally:
            if file is not None:
                file.close()
        try:
            digest = Digest(hasher.hexdigest(), size, self._function)
        except SizeMismatch:  # GITSHA1 hashes the size first, and it is known only now
            function = self._function
            digest = Digest.of_path(path, function) if file else Digest.of(head, function)
        if digest in self.blobs:
            path.unlink(missing_ok=True)
        elif file is not None:
            self.blobs[digest] = path
        else:
            self.blobs[digest] = bytes(head)
            self._held += size
        return digest

    def _measure(self, size: int) -> None:
        self._bytes += size
        if self._bytes > self._limits.bytes:
            raise AssetTooLarge(
                f"it unpacks to more than assets.max_unpacked_bytes = {self._limits.bytes}"
            )
        if self._ended():
            raise FetchEnded


def _segments(name: str) -> list[str]:
    """Split a name; raise ContentMismatch unless it stays below where it starts."""
    encoded = _encoded(name)
    segments = [part for part in name.split("/") if part not in {"", "."}]
    if name.startswith("/") or ".." in segments or b"\0" in encoded:
        raise ContentMismatch(f"{name!r} is no relative path that stays inside")
    if any(len(part.encode()) > MAX_NAME_BYTES for part in segments):
        raise ContentMismatch(f"{name[:80]!r}: a name is longer than {MAX_NAME_BYTES} bytes")
    return segments


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ContentMismatch(f"{text!r} is not UTF-8") from None


def check_links(root: Folder) -> None:
    """Raise ContentMismatch where a symlink leaves the tree, also by way of other symlinks."""
    waiting: list[tuple[tuple[str, ...], Folder]] = [((), root)]
    while waiting:
        at, folder = waiting.pop()
        for name, entry in folder.entries.items():
            if isinstance(entry, Folder):
                waiting.append(((*at, name), entry))
            elif isinstance(entry, Link) and _leaves(root, at, entry.target):
                raise ContentMismatch(
                    f"symlink {'/'.join((*at, name))!r} to {entry.target!r} leaves the tree"
                )


def _leaves(root: Folder, at: tuple[str, ...], target: str) -> bool:
    """Follow a symlink as the kernel does, on from what is not there as if it were a directory.

    Where the kernel would give up following, nothing is reached.
    """
    path = [root]
    for name in at:
        inner = path[-1].entries[name]
        assert isinstance(inner, Folder)
        path.append(inner)
    ahead, followed = deque(_steps(target)), 0
    while ahead and followed <= MAX_FOLLOWED:
        step = ahead.popleft()
        entry = path[-1].entries.get(step)
        if step == "/" or (step == ".." and len(path) == 1):
            return True
        if step == "..":
            path.pop()
        elif isinstance(entry, Link):
            followed += 1
            ahead.extendleft(reversed(_steps(entry.target)))
        else:
            path.append(entry if isinstance(entry, Folder) else Folder())
    return False


def _steps(target: str) -> list[str]:
    absolute = ["/"] if target.startswith("/") else []
    return absolute + [step for step in target.split("/") if step not in {"", "."}]
