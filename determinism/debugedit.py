"""Paths in DWARF debug information, rewritten by the program debugedit.

They can't be replaced byte for byte: strings move, and their offsets stand elsewhere. debugedit
knows DWARF, but not all of it: on Clang's DWARF 5 its version 5.0 leaves strings as they are and
exits with 0. So its result is looked into, and taken only if it did what it should and no more.
"""

from __future__ import annotations

import mmap
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from determinism import elf
from determinism.format import Data, Declined

PROGRAM = "debugedit"
LIMIT_SECONDS = 60
MAX_FILE_BYTES = 512 << 20  # debugedit holds a file in memory, some of it twice
COMPARED_BYTES = 1 << 20

DEBUG = re.compile(rb"\.debug_\w+")
MAY_CHANGE = re.compile(rb"\.(?:rela?\.)?debug_\w+")
SAME_SIZE = {b".debug_info", b".debug_types", b".debug_abbrev", b".debug_loclists", b".debug_frame"}
SECTIONS_AT = {True: (40, 48), False: (32, 36)}  # e_shoff in the file header, by whether it is wide


def rewritten(path: Path, seen_root: str, root: str, folder: Path) -> Path | None:
    """Make a copy of an ELF file whose debug information has `root` in place of `seen_root`.

    path: an object or image. seen_root, root: absolute paths. folder: where the copy is made; the
    caller removes it. Returns None if the file has no such path in DWARF, or there is no debugedit,
    or it took more than LIMIT_SECONDS, or its result is not just that. A build-id stays as it was:
    the canonical form of images is to follow. debugedit reads what an action wrote, with the rights
    of this process: this is for actions that had the same rights.
    """
    program = shutil.which(PROGRAM)
    if program is None or not _concerned(path, seen_root.encode()):
        return None
    descriptor, name = tempfile.mkstemp(dir=folder, prefix="debugedit-")
    os.close(descriptor)
    copy = Path(name)
    try:
        shutil.copyfile(path, copy)
        if _edited(program, copy, seen_root, root) and _proven(path, copy, seen_root.encode()):
            return copy
    except BaseException:
        copy.unlink()
        raise
    copy.unlink()
    return None


def _concerned(path: Path, seen: bytes) -> bool:
    """Tell whether a file is ELF and has `seen` in debug sections, none of which is compressed."""
    if not 0 < path.stat().st_size <= MAX_FILE_BYTES:
        return False
    with _mapped(path) as data:
        try:
            parsed = elf.parsed(data)
        except Declined:
            return False
        debug = [section for section in parsed.sections if DEBUG.fullmatch(section.name)]
        if any(section.flags & elf.SHF_COMPRESSED for section in debug):
            return False
        return any(data.find(seen, section.start, section.end) >= 0 for section in debug)


def _edited(program: str, copy: Path, seen_root: str, root: str) -> bool:
    """Run debugedit on a file, and tell whether it says that it is done."""
    try:
        done = subprocess.run(  # noqa: S603 - no shell; the paths are this process's own
            [program, f"--base-dir={seen_root}", f"--dest-dir={root}", copy],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _proven(path: Path, copy: Path, seen: bytes) -> bool:
    """Tell whether a copy differs from a file in debug information alone, and has no `seen` there.

    Neither may what is loaded have moved, nor entries of debug information have changed their size.
    """
    if copy.stat().st_size == 0:
        return False
    with _mapped(path) as data, _mapped(copy) as edited:
        try:
            before, after = elf.parsed(data), elf.parsed(edited)
        except Declined:
            return False
        return (
            len(before.sections) == len(after.sections)
            and _same_loaded(data, before, edited, after)
            and all(
                _kept(data, old, edited, new) and not _left(edited, new, seen)
                for old, new in zip(before.sections, after.sections, strict=True)
            )
        )


def _same_loaded(data: Data, before: elf.Elf, edited: Data, after: elf.Elf) -> bool:
    """Tell whether the header, and of images all up to the last byte that is loaded, is the same.

    But for where the section table is.
    """
    skip, go_on = SECTIONS_AT[before.wide]
    end = 64 if before.wide else 52
    if before.kind != elf.ET_REL:
        loaded = (section for section in before.sections if section.flags & elf.SHF_ALLOC)
        end = max([end, *(section.end for section in loaded)])
    return _same(data, 0, edited, 0, skip) and _same(data, go_on, edited, go_on, end - go_on)


def _kept(data: Data, old: elf.Section, edited: Data, new: elf.Section) -> bool:
    """Tell whether a section is what it was, or may be another."""
    if (old.name, old.kind, old.flags, old.address, old.link, old.info) != (
        new.name,
        new.kind,
        new.flags,
        new.address,
        new.link,
        new.info,
    ):
        return False
    size = old.end - old.start
    if MAY_CHANGE.fullmatch(old.name):
        return old.name not in SAME_SIZE or size == new.end - new.start
    return size == new.end - new.start and _same(data, old.start, edited, new.start, size)


def _left(edited: Data, section: elf.Section, seen: bytes) -> bool:
    """Tell whether a section of debug information still has the path."""
    return (
        DEBUG.fullmatch(section.name) is not None
        and edited.find(seen, section.start, section.end) >= 0
    )


def _same(data: Data, start: int, other: Data, other_start: int, size: int) -> bool:
    """Compare bytes, some at a time."""
    return all(
        data[start + at : start + min(at + COMPARED_BYTES, size)]
        == other[other_start + at : other_start + min(at + COMPARED_BYTES, size)]
        for at in range(0, size, COMPARED_BYTES)
    )


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data
