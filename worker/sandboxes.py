"""The sandbox of a worker, chosen by its configuration and tried out."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import assert_never

from re_config import schema
from worker import seeded
from worker.bubblewrap import Bubblewrap
from worker.conditions import ConditioningSpawner
from worker.folders import Folders, memory_fault, opened
from worker.plain import Plain
from worker.process import Spawner
from worker.sandbox import ACTION_USER, Sandbox, SandboxUnavailable

log = logging.getLogger(__name__)


@contextmanager
def site(config: schema.Worker) -> Iterator[tuple[Folders, Spawner]]:
    """Take the folder of a worker, and have a spawner for what runs there.

    Raises FolderTaken, and SandboxUnavailable if actions are to run in memory and cannot.
    """
    in_memory = config.working_tree == "tmpfs"
    memory = Path(config.memory_path)
    fault = memory_fault(memory)
    if in_memory and fault:
        raise SandboxUnavailable(
            f'worker.working_tree = "tmpfs" cannot be: worker.memory_path {memory}: {fault}'
        )
    usable = None if fault else memory
    with (
        opened(config.path, usable, in_memory=in_memory) as folders,
        ConditioningSpawner(config.prevent) as spawner,
    ):
        yield folders, spawner


async def sandbox_of(config: schema.Worker, folders: Folders, spawner: Spawner) -> Sandbox:
    """Return a sandbox that works, with actions as a user of their own where that is possible.

    Raises SandboxUnavailable.
    """
    make = _maker(config, folders, spawner, await asyncio.to_thread(_library, folders))
    sandbox = await _working(make, folders)
    if folders.in_memory:
        sandbox.switches = tuple(sorted({*sandbox.switches, "tmpfs"}))
    return sandbox


async def _working(make: Callable[[int | None], Sandbox], folders: Folders) -> Sandbox:
    if os.geteuid() == 0:
        sandbox = make(ACTION_USER)
        try:
            await _probe(sandbox, folders)
        except SandboxUnavailable as error:
            log.warning(
                "actions run as the worker's own user, root: inputs are copied, and actions can "
                "read what root alone can, of what worker.sandbox shows them: %s",
                error,
            )
        else:
            return sandbox
    sandbox = make(None)
    await _probe(sandbox, folders)
    return sandbox


def _library(folders: Folders) -> Path | None:
    try:
        return seeded.library(folders.path)
    except seeded.NoCompiler as error:
        log.warning("randomness is seeded in /dev/urandom alone, not in getrandom: %s", error)
        return None


def _maker(
    config: schema.Worker, folders: Folders, spawner: Spawner, library: Path | None
) -> Callable[[int | None], Sandbox]:
    sandbox, prevent = config.sandbox, config.prevent
    match sandbox:
        case schema.Bubblewrap():
            return lambda user: Bubblewrap(
                sandbox, prevent, folders, spawner, user=user, library=library
            )
        case schema.NoSandbox():
            return lambda user: Plain(prevent, spawner, user=user, library=library)
        case _:
            assert_never(sandbox)


async def _probe(sandbox: Sandbox, folders: Folders) -> None:
    async with folders.action() as folder:
        await sandbox.probe(folder)
