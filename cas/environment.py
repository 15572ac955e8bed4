"""The LMDB environment that all indexes of a store share, and its one writer.

Changes of blobs, results and pins that belong together are one transaction, and changes that wait
at the same time are committed as one (group commit): 100 small uploads cost one commit.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import lmdb

from cas.store import StoreFull

log = logging.getLogger(__name__)

MAX_DATABASES = 32
MAX_READERS = 512
FULL_BYTES = 1 << 20  # a disk with less than this is taken for full where a write failed
GROUP_CHANGES = 512  # most changes of one commit, so that none waits long for the others

Read: TypeAlias = "lmdb.Transaction[bytes]"  # quoted: generic in the stubs alone
Database = lmdb._Database  # noqa: SLF001 - lmdb has no public name for it
Result = TypeVar("Result")
Change = Callable[[Read], Result]
_Waiting = tuple[Change[Any], Future[Any]]


class Environment:
    """An open LMDB environment. Reads are direct; writes go through one thread.

    durable: every commit is on the disk before it is acknowledged; else the operating system
    writes it when it likes, which a killed process survives and a loss of power does not.
    """

    def __init__(self, folder: Path, *, map_bytes: int, durable: bool) -> None:
        self._folder = folder
        self._env = lmdb.open(
            str(folder),
            map_size=map_bytes,
            max_dbs=MAX_DATABASES,
            max_readers=MAX_READERS,
            sync=durable,
            metasync=durable,
            readahead=False,
        )
        self._waiting: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._entering = threading.Lock()
        self._closed = False
        self._writer = threading.Thread(target=self._write, name="index-writer", daemon=True)

    def __enter__(self) -> Self:
        self._writer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Commit what waits, write everything to the disk, close."""
        with self._entering:
            self._closed = True
            self._waiting.put(None)
        self._writer.join()
        try:
            self._env.sync(True)
        finally:
            self._env.close()

    def database(self, name: str, *, duplicates: bool = False) -> Database:
        return self._env.open_db(name.encode(), dupsort=duplicates)

    def read(self) -> Read:
        """Begin a read: a snapshot, to be used in a `with` block that does not await."""
        return self._env.begin()

    def view(self) -> lmdb.Transaction[memoryview]:
        """As `read`, without copies: what is found is good until the block ends."""
        return self._env.begin(buffers=True)

    async def write(self, change: Change[Result]) -> Result:
        """Run `change` in the writer's thread, and return once it is committed.

        change: called with the transaction, and again if another change of the same commit
        fails; it must not keep state of its own. What it raises is raised here, and nothing of
        it is kept. Raises StoreFull where the disk or the index's address space is full,
        RuntimeError after the end of the block.
        """
        return await asyncio.wrap_future(self._enter(change))

    def write_soon(self, change: Change[object]) -> None:
        """As `write`, for what nobody waits for and may be lost, such as the end of a lease."""
        self._enter(change)

    def write_now(self, change: Change[Result]) -> Result:
        """As `write`, for callers that are no coroutines: opening, tools."""
        return self._enter(change).result()

    def _enter(self, change: Change[Result]) -> Future[Result]:
        waited: Future[Result] = Future()
        with self._entering:
            if self._closed:
                raise RuntimeError("the index is closed")
            self._waiting.put((change, waited))
        return waited

    def _write(self) -> None:
        ending = False
        while not ending:
            taken = [self._waiting.get()]
            while len(taken) < GROUP_CHANGES and not self._waiting.empty():
                taken.append(self._waiting.get())
            ending = None in taken
            group = [one for one in taken if one and one[1].set_running_or_notify_cancel()]
            if group:
                self._commit(group)

    def _commit(self, group: list[_Waiting]) -> None:
        """Commit all of `group` as one; where one fails, each on its own."""
        try:
            with self._env.begin(write=True) as transaction:
                results = [change(transaction) for change, _ in group]
        except Exception as error:  # noqa: BLE001 - handed to who waits for it
            if len(group) == 1:
                group[0][1].set_exception(self._translated(error))
                return
            for one in group:
                self._commit([one])
            return
        for (_, waited), result in zip(group, results, strict=True):
            waited.set_result(result)

    def _translated(self, error: Exception) -> Exception:
        if not (
            isinstance(error, lmdb.MapFullError | lmdb.DiskError)
            or getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT}
            or (isinstance(error, lmdb.Error) and self._disk_is_full(str(error)))
        ):
            return error
        told = StoreFull(
            f"no room for the index: {error}; free disk space or raise store.index_bytes"
        )
        told.__cause__ = error
        return told

    def _disk_is_full(self, message: str) -> bool:
        """Tell what LMDB means: a write cut short by the end of the disk it calls an I/O error."""
        if os.strerror(errno.EIO) not in message:
            return os.strerror(errno.ENOSPC) in message
        disk = os.statvfs(self._folder)
        return disk.f_bavail * disk.f_frsize < FULL_BYTES
