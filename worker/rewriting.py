"""Outputs, brought into canonical form before they get their names."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cas.digest import Digest
from determinism.canonical import Circumstances, Output, Rewritten, Selection, canonicalise
from worker.command import Loaded
from worker.materialise import inside

SEARCHED_BYTES = 256 << 20  # of inputs, for one text; with more of them it is taken to be there


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What one action has left below `root`, a folder of the host, all its processes being gone.

    user: who it ran as; None: this process's user. begun, ended: seconds since 1970. seen_root:
    where the action saw its input root. inputs: files of the host, by digest.
    input_times: modification times that inputs were given, in nanoseconds since 1970.
    """

    loaded: Loaded
    root: Path
    user: int | None
    begun: float
    ended: float
    seen_root: str
    inputs: dict[Digest, str]
    input_times: Collection[int]


def rewritten(made: Made, selection: Selection, *, max_entries: int) -> list[Rewritten]:
    """Rewrite outputs in place, each file at most once; return what was changed.

    Their modification times stay where the client asks for them.
    max_entries: of all output directories; what is beyond it is left as it is.
    """
    outputs = [output for output, _ in zip(_outputs(made), range(max_entries), strict=False)]
    canonical_root = made.loaded.path
    told = outputs if "mtime" in made.loaded.command.output_node_properties else ()
    times = {output.path: output.path.stat().st_mtime_ns for output in told}
    changed = canonicalise(
        outputs,
        selection,
        Circumstances(
            begun=made.begun,
            ended=made.ended,
            root=canonical_root,
            seen_root="" if made.seen_root == canonical_root else made.seen_root,
            inputs=made.inputs.keys(),
            input_text=_search(_names(made.loaded), list(made.inputs.values())),
        ),
    )
    for path, time in times.items():
        os.utime(path, ns=(time, time))
    return changed


def _passed_through(found: os.stat_result, made: Made) -> bool:
    """Tell whether a file is an input, moved or linked here: its bytes are not to change.

    A hard link to the worker's own copy belongs to the worker, not to the action's user.
    """
    foreign = made.user is not None and found.st_uid != made.user
    return foreign or found.st_mtime_ns in made.input_times


def _outputs(made: Made) -> Iterator[Output]:
    """Yield every regular file of the outputs that the action made."""
    for output in made.loaded.outputs:
        folder = inside(made.root, str(made.root / output.parent))
        if folder is None:
            continue
        name = output.path.rpartition("/")[2]
        pending = [(f"{folder}/{name}" if name else folder, output.requested)]
        while pending:
            path, shown = pending.pop()
            try:
                found = os.lstat(path)
            except OSError:
                continue
            if stat.S_ISDIR(found.st_mode):
                pending += [(f"{path}/{each}", f"{shown}/{each}") for each in _listed(path)]
            elif stat.S_ISREG(found.st_mode) and not _passed_through(found, made):
                if not os.access(path, os.R_OK | os.W_OK):
                    os.chmod(path, found.st_mode | stat.S_IRUSR | stat.S_IWUSR)  # noqa: PTH101
                yield Output(Path(path), shown)


def _listed(folder: str) -> Sequence[str]:
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        os.chmod(folder, stat.S_IRWXU)  # noqa: PTH101 - nobody looks any more
    return sorted(os.listdir(folder), reverse=True)  # noqa: PTH208 - names are enough


def _names(loaded: Loaded) -> bytes:
    """Return the names of all inputs: a source may be called as a temporary file is."""
    nodes = (
        node.name
        for directory in loaded.inputs.directories.values()
        for each in (directory.files, directory.directories, directory.symlinks)
        for node in each
    )
    return "\n".join(nodes).encode()


def _search(names: bytes, paths: list[str]) -> Callable[[bytes], bool]:
    """Return what tells whether a text stands in `names` or in one of the files."""

    def stands(text: bytes) -> bool:
        if text in names:
            return True
        searched = 0
        for path in paths:
            try:
                with open(path, "rb") as file:  # noqa: PTH123 - strings, since there are many
                    size = os.fstat(file.fileno()).st_size
                    searched += size
                    if searched > SEARCHED_BYTES:
                        return True
                    if size:
                        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
                            if data.find(text) >= 0:
                                return True
            except OSError:
                return True
        return False

    return stands
