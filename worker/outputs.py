"""What an action made, of what its client asked for."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from cas.digest import Digest, DigestFunction
from cas.git_sha1 import SizeMismatch
from cas.wire import digest_to
from protos import remote_execution_pb2 as reapi, worker_pb2
from re_client.status import Refused, Unserved
from worker.command import Loaded, Output
from worker.materialise import inside
from worker.properties import Found
from worker.trees import TreeBuilder

KEPT_FILE_BYTES = 64 * 1024  # a file up to this size is read once, and kept for its upload
KEPT_BYTES = 16 << 20  # of all files kept so

_WITH_DIRECTORIES = {
    reapi.Command.OutputDirectoryFormat.DIRECTORY_ONLY,
    reapi.Command.OutputDirectoryFormat.TREE_AND_DIRECTORY,
}


class OutputUnfit(Unserved):
    """An output is there, and cannot be what the client asked for."""


class OutputsTooLarge(Refused):
    """The outputs of an action are over one of the bounds of OutputLimits."""


@dataclass(frozen=True, slots=True)
class OutputLimits:
    """How much one action may make.

    bytes: of all outputs. entries: files, folders and links in all of them. depth: folders on the
    longest path of one.
    """

    bytes: int
    entries: int
    depth: int


@dataclass(slots=True)
class Collected:
    """Outputs, and where the blobs that they name can be had: in memory or in a file.

    contents: the output directories without times, where they have such.
    """

    result: reapi.ActionResult = field(default_factory=reapi.ActionResult)
    blobs: dict[Digest, bytes | Path] = field(default_factory=dict)
    contents: worker_pb2.Contents = field(default_factory=worker_pb2.Contents)

    def add(self, content: bytes | Path, function: DigestFunction) -> reapi.Digest:
        """Name `content`, so that it is uploaded."""
        digest = Digest.of(content, function) if isinstance(content, bytes) else None
        if digest is None:
            digest, _ = read(str(content), function, keep=False)
        self.blobs.setdefault(digest, content)
        return reapi.Digest(hash=digest.hash, size_bytes=digest.size)


@dataclass(slots=True)
class Collector:
    """Collects the outputs of one action, all of whose processes are gone.

    root: the execution root on the host.

    Links are never followed, but for the folders above an output, and there only inside the root.
    """

    loaded: Loaded
    root: Path
    function: DigestFunction
    limits: OutputLimits
    collected: Collected = field(default_factory=Collected)
    _bytes: int = 0
    _kept_bytes: int = 0
    _entries: int = 0
    _properties: Found = field(init=False)

    def __post_init__(self) -> None:
        self._properties = Found(self.loaded.command.output_node_properties)

    def collect(self) -> Collected:
        """Read every output; raise OutputUnfit, OutputsTooLarge, OSError."""
        try:
            self._collect()
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise OutputsTooLarge("outputs are too deep: a path is too long") from error
        return self.collected

    def _collect(self) -> None:
        for output in self.loaded.outputs:
            folder = inside(self.root, str(self.root / output.parent))
            if folder is None:
                continue
            name = output.path.rpartition("/")[2]
            path = f"{folder}/{name}" if name else folder
            try:
                found = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            self._add(output, path, found)

    def _add(self, output: Output, path: str, found: os.stat_result) -> None:
        result = self.collected.result
        if stat.S_ISLNK(found.st_mode):
            self._add_link(output, path, found)
        elif stat.S_ISREG(found.st_mode):
            self._check_kind(output, "file")
            digest, executable = self._file(path, found)
            result.output_files.add(
                path=output.requested,
                digest=digest,
                is_executable=executable,
                node_properties=self._properties.of(found),
            )
        elif stat.S_ISDIR(found.st_mode):
            self._check_kind(output, "directory")
            self._add_directory(output, path, found)
        else:
            raise OutputUnfit(f"output {output.requested!r} is {_special(found)}")

    def _check_kind(self, output: Output, kind: str) -> None:
        """Raise OutputUnfit where a file was asked for and a directory is there, or so.

        Source: remote_execution.proto, ActionResult.output_files and output_directories.
        """
        if kind not in output.kinds:
            asked = " or ".join(output.kinds)
            raise OutputUnfit(f"output {output.requested!r} is a {kind}, not the {asked} asked for")

    def _add_link(self, output: Output, path: str, found: os.stat_result) -> None:
        link = reapi.OutputSymlink(
            path=output.requested,
            target=self._target(path),
            node_properties=self._properties.of(found),
        )
        result = self.collected.result
        if not self.loaded.legacy:
            result.output_symlinks.append(link)
        elif self._names_directory(path, link.target, output):
            result.output_directory_symlinks.append(link)
        else:
            result.output_file_symlinks.append(link)

    def _target(self, path: str) -> str:
        target = str(Path(path).readlink())
        if not _encodable(target):
            raise OutputUnfit(f"the link {self._shown(path)!r} has a target that is not UTF-8")
        return target

    def _names_directory(self, path: str, target: str, output: Output) -> bool:
        """Tell which kind of link it is: by what it names, else by what was asked for."""
        seen = self.loaded.path
        if target == seen or target.startswith(f"{seen}/"):
            path = f"{self.root}{target.removeprefix(seen)}"
        real = inside(self.root, path)
        return "directory" in output.kinds if real is None else Path(real).is_dir()

    def _add_directory(self, output: Output, path: str, found: os.stat_result) -> None:
        builder = TreeBuilder(self.function)
        root = self._directory(path, found, builder, depth=1)
        made = self.collected.result.output_directories.add(path=output.requested)
        wanted = self.loaded.command.output_directory_format
        if wanted in _WITH_DIRECTORIES:
            made.root_directory_digest.hash = root.hash
            made.root_directory_digest.size_bytes = root.size
            for digest, (_, data) in builder.directories.items():
                self.collected.blobs.setdefault(digest, data)
        if wanted != reapi.Command.OutputDirectoryFormat.DIRECTORY_ONLY:
            made.tree_digest.CopyFrom(self.collected.add(builder.tree(root), self.function))
            made.is_topologically_sorted = True
        if self._properties.times:
            timeless = Digest.of(builder.without_times(root), self.function)
            self.collected.contents.directories.add(
                path=output.requested, tree_digest=digest_to(timeless)
            )

    def _directory(
        self, path: str, of: os.stat_result, builder: TreeBuilder, *, depth: int
    ) -> Digest:
        if depth > self.limits.depth:
            raise OutputsTooLarge(
                f"outputs are more than {self.limits.depth} directories deep (limits.tree_depth)"
            )
        directory = reapi.Directory(node_properties=self._properties.of(of))
        for entry in self._entries_of(path):
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                directory.symlinks.add(
                    name=entry.name,
                    target=self._target(entry.path),
                    node_properties=self._properties.of(found),
                )
            elif stat.S_ISDIR(found.st_mode):
                digest = self._directory(entry.path, found, builder, depth=depth + 1)
                node = directory.directories.add(name=entry.name)
                node.digest.hash, node.digest.size_bytes = digest.hash, digest.size
            elif stat.S_ISREG(found.st_mode):
                named, executable = self._file(entry.path, found)
                directory.files.add(
                    name=entry.name,
                    digest=named,
                    is_executable=executable,
                    node_properties=self._properties.of(found),
                )
            else:
                raise OutputUnfit(f"{self._shown(entry.path)!r} is {_special(found)}")
        return builder.add(directory)

    def _entries_of(self, path: str) -> Iterable[os.DirEntry[str]]:
        """Return what is in the folder, sorted as a Directory is, by the bytes of the names."""
        if not os.access(path, os.R_OK | os.X_OK):
            os.chmod(path, stat.S_IRWXU)  # noqa: PTH101 - strings: there can be thousands
        with os.scandir(path) as entries:
            listed = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        self._entries += len(listed)
        if self._entries > self.limits.entries:
            raise OutputsTooLarge(
                f"outputs have more than {self.limits.entries} entries (limits.tree_entries)"
            )
        for entry in listed:
            if not _encodable(entry.name):
                raise OutputUnfit(f"{self._shown(entry.path)!r} has a name that is not UTF-8")
        return listed

    def _file(self, path: str, found: os.stat_result) -> tuple[reapi.Digest, bool]:
        """Name a file."""
        self._bytes += found.st_size
        if self._bytes > self.limits.bytes:
            raise OutputsTooLarge(
                f"outputs have more than {self.limits.bytes} bytes (worker.max_output_bytes)"
            )
        if not os.access(path, os.R_OK | os.W_OK):
            os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)  # noqa: PTH101 - nobody looks any more
        keep = found.st_size <= KEPT_FILE_BYTES and self._kept_bytes < KEPT_BYTES
        digest, data = read(path, self.function, keep=keep)
        if data is not None:
            self._kept_bytes += len(data)
        self.collected.blobs.setdefault(digest, Path(path) if data is None else data)
        executable = bool(found.st_mode & stat.S_IXUSR)
        return reapi.Digest(hash=digest.hash, size_bytes=digest.size), executable

    def _shown(self, path: str) -> str:
        return os.path.relpath(path, self.root).encode(errors="replace").decode()


def read(path: str, function: DigestFunction, *, keep: bool) -> tuple[Digest, bytes | None]:
    """Name the file at `path`, which is no link; return its bytes too if `keep`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with FileIO(descriptor) as file:
        if keep:
            data = file.read()
            return Digest.of(data, function), data
        try:
            return Digest.of_file(file, function), None
        except SizeMismatch:
            raise OutputUnfit(f"{path!r} changed while it was read") from None


def _special(found: os.stat_result) -> str:
    for test, name in (
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ):
        if test(found.st_mode):
            return f"{name}: only files, directories and symbolic links can be outputs"
    return "of a kind that cannot be an output"


def _encodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
