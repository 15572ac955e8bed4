"""Folders as the protocol writes them: built up entry by entry, and encoded as Directories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from cas.digest import Digest, DigestFunction
from cas.wire import digest_to
from protos import remote_execution_pb2 as reapi

Blobs = dict[Digest, bytes | Path]  # what there is to upload: in memory, or where it can be read


class Unsendable(ValueError):
    """A file, folder or name that the protocol has no form for."""


@dataclass(frozen=True, slots=True)
class File:
    digest: Digest
    executable: bool


@dataclass(frozen=True, slots=True)
class Link:
    target: str


@dataclass(slots=True)
class Folder:
    entries: dict[str, File | Link | Folder] = field(default_factory=dict)

    def files(self) -> Iterator[Digest]:
        """Yield the digest of each file in it and below it."""
        for entry in self.entries.values():
            if isinstance(entry, File):
                yield entry.digest
            elif isinstance(entry, Folder):
                yield from entry.files()

    def put(self, at: PurePosixPath, entry: File | Link | Folder) -> None:
        """Put `entry` at a relative path, folders merged; raise Unsendable where one is taken."""
        if not at.parts:
            if not isinstance(entry, Folder):
                raise Unsendable("the input root can only be a folder")
            for name, below in entry.entries.items():
                self.put(PurePosixPath(name), below)
            return
        name, rest = at.parts[0], at.parts[1:]
        known = self.entries.get(name)
        if rest or (isinstance(known, Folder) and isinstance(entry, Folder)):
            inner = self.entries.setdefault(name, Folder())
            if not isinstance(inner, Folder):
                raise Unsendable(f"{name!r} is a file in one input and a folder in another")
            inner.put(PurePosixPath(*rest), entry)
        elif known is None or known == entry:
            self.entries[name] = entry
        else:
            raise Unsendable(f"two inputs have different entries of the name {name!r}")


def encode(folder: Folder, function: DigestFunction, blobs: Blobs) -> Digest:
    """Return the digest of a folder's Directory; add it and those below it to `blobs`.

    Source: remote_execution.proto, message Directory: entries are sorted by name.
    """
    directory = reapi.Directory()
    for name, entry in sorted(folder.entries.items(), key=lambda item: item[0].encode()):
        match entry:
            case File(digest, executable):
                directory.files.add(name=name, digest=digest_to(digest), is_executable=executable)
            case Link(target):
                directory.symlinks.add(name=name, target=target)
            case Folder():
                below = encode(entry, function, blobs)
                directory.directories.add(name=name, digest=digest_to(below))
    return put_message(directory.SerializeToString(deterministic=True), function, blobs)


def put_message(data: bytes, function: DigestFunction, blobs: Blobs) -> Digest:
    """Add a serialised message to `blobs`; return its digest."""
    digest = Digest.of(data, function)
    blobs[digest] = data
    return digest
