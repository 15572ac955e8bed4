"""Opening a store's folder: in a time that does not depend on how much is in it."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import lmdb

from cas.disk import DiskStore
from cas.disk_files import sync_folder
from cas.disk_index import DiskIndex
from cas.disk_room import DiskLimits, Room, make_ballast
from cas.environment import Environment

log = logging.getLogger(__name__)

PLAIN_FORMAT = "holdfast store 1\n"
PACKED_FORMAT = "holdfast store 2\n"  # blobs may be packed, which versions before did not know
FSYNC = "fsync\n"  # what `boot` says of a store whose commits are all on the disk
UNSWEPT = "unswept"  # there from an unclean end until cas.disk_orphans has been through
THREADS = 16  # reads and writes of files under way at one time
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class StoreUnusable(RuntimeError):
    """The folder cannot be used as a store; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class OpenStore:
    """A store and the environment that results and pins share with it."""

    folder: Path
    blobs: DiskStore
    room: Room
    environment: Environment
    index: DiskIndex


@contextmanager
def open_store(
    folder: Path,
    limits: DiskLimits,
    *,
    index_bytes: int,
    clock: Callable[[], float] = time.time,
) -> Iterator[OpenStore]:
    """Open the store in `folder`, which is made if it is not there, for this process alone.

    index_bytes: address space of the index. clock: seconds since 1970, for leases.
    Raises StoreUnusable.
    """
    with _locked(folder):
        environment = _prepared(folder, limits, index_bytes)
        with (
            ThreadPoolExecutor(THREADS, thread_name_prefix="disk") as threads,
            environment,
        ):
            index = DiskIndex(environment)
            room = Room(folder / "blobs", environment, index, limits, clock=clock)
            blobs = DiskStore(folder, environment, index, room, threads=threads, clock=clock)
            yield OpenStore(folder, blobs, room, environment, index)
        (folder / "boot").unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreUnusable(f"store.path {folder}: {error.strerror}") from error
    try:
        _lock(lock, folder)
        yield
    finally:
        os.close(lock)


def _prepared(folder: Path, limits: DiskLimits, index_bytes: int) -> Environment:
    try:
        _check_format(folder)
        _settle_last_end(folder, durable=limits.durable)
        _empty(folder / "incoming")
        for name in ("blobs", "index", "incoming", "quarantine"):
            (folder / name).mkdir(exist_ok=True)
        make_ballast(folder / "ballast")
        environment = Environment(folder / "index", map_bytes=index_bytes, durable=limits.durable)
        if limits.compression:
            _allow_packed(folder)
    except OSError as error:
        raise StoreUnusable(f"store.path {error.filename or folder}: {error.strerror}") from error
    except lmdb.Error as error:
        raise StoreUnusable(
            f"store.path {folder}: its index cannot be opened: {error}; where there is too little "
            "address space lower store.index_bytes, where it is damaged remove the folder"
        ) from error
    return environment


def _lock(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreUnusable(
            f"store.path {folder} is in use by another process; stop it or choose another folder"
        ) from None


def _check_format(folder: Path) -> None:
    file = folder / "format"
    if not file.exists():
        if (folder / "index").exists():
            raise StoreUnusable(f"{file} is missing: {folder} is not a store, or a damaged one")
        _write_whole(file, PLAIN_FORMAT)
    elif (found := file.read_text(errors="replace")) not in {PLAIN_FORMAT, PACKED_FORMAT}:
        raise StoreUnusable(
            f"{folder} has the format {found.strip()!r}, this version reads "
            f"{PLAIN_FORMAT.strip()!r} and {PACKED_FORMAT.strip()!r}"
        )


def _allow_packed(folder: Path) -> None:
    """Have versions that know no packed blobs refuse the store, before there is any."""
    file = folder / "format"
    if file.read_text() != PACKED_FORMAT:
        _write_whole(file, PACKED_FORMAT)


def _settle_last_end(folder: Path, *, durable: bool) -> None:
    """Begin anew where the machine, not only the process, may have died under the store.

    Without durability = "fsync" the index may then be half written in a way nobody can see. A
    store that was closed, or whose machine has run on since, is as it should be: `boot` is there
    while a store is open, and says in which run of the machine, or that it does not matter.
    """
    boot = folder / "boot"
    now = BOOT_ID.read_text()
    with suppress(FileNotFoundError):
        found = boot.read_text(errors="replace")
        if found not in {now, FSYNC}:
            _set_aside(folder)
            log.warning(
                "the machine went down while %s was open: its contents are discarded; "
                'set store.durability = "fsync" to keep them next time',
                folder,
            )
        elif durable and found == now:
            os.sync()  # from here on, what the last process wrote survives a loss of power too
        (folder / UNSWEPT).touch()
    _write_whole(boot, FSYNC if durable else now)
    for aside in folder.glob("discarded-*"):
        _remove_in_background(aside)


def _set_aside(folder: Path) -> None:
    aside = folder / f"discarded-{uuid4().hex}"
    aside.mkdir()
    for name in ("index", "blobs", "incoming"):
        with suppress(FileNotFoundError):
            (folder / name).rename(aside / name)


def _write_whole(path: Path, text: str) -> None:
    """Write a file such that it is there with all of `text`, or as it was, whatever happens."""
    new = path.with_name(f"{path.name}.new")
    with new.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    sync_folder(path.parent)


def _empty(incoming: Path) -> None:
    """Remove what a killed process left of unfinished uploads."""
    with suppress(FileNotFoundError):
        aside = incoming.with_name(f"discarded-{uuid4().hex}")
        incoming.rename(aside)
        _remove_in_background(aside)


def _remove_in_background(folder: Path) -> None:
    threading.Thread(
        target=shutil.rmtree, args=(folder,), kwargs={"ignore_errors": True}, daemon=True
    ).start()
