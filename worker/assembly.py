"""A worker, put together from its configuration."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import assert_never

from cas.store import BlobStore
from protos import remote_execution_pb2 as reapi, worker_pb2
from re_config import schema
from re_config.bounds import tree_limits
from worker import toolchain
from worker.executor import Executor, Settings
from worker.files import FileCache
from worker.outputs import OutputLimits
from worker.process import adopt_orphans
from worker.program import Versions
from worker.sandbox import Sandbox
from worker.sandboxes import sandbox_of, site
from worker.seeded import Seeding


class InputsUnsafe(RuntimeError):
    """Inputs are asked to be hard links, and actions could change what they are linked to."""


def slots(config: schema.Worker) -> int:
    """Return how many actions the worker runs at one time."""
    return config.slots or os.cpu_count() or 1


def name(config: schema.Worker) -> str:
    """Return what the worker is called: unique among those of one server."""
    return config.name or f"{socket.gethostname()}-{os.getpid()}"


def offer_of(config: schema.Worker) -> worker_pb2.Offer:
    """Say what a worker of this configuration offers."""
    platform = reapi.Platform()
    for property, values in sorted(config.platform.items()):
        for value in [values] if isinstance(values, str) else values:
            platform.properties.add(name=property, value=value)
    return worker_pb2.Offer(
        name=name(config),
        platform=platform,
        slots=slots(config),
        toolchain=toolchain.digest(config),
    )


@asynccontextmanager
async def assembled(
    config: schema.Worker,
    limits: schema.Limits,
    store: BlobStore,
) -> AsyncIterator[Executor]:
    """Make an executor over `store` that is known to work: its sandbox has been tried.

    It is to be used in the block alone, and by one event loop.
    Raises SandboxUnavailable, InputsUnsafe, FolderTaken, OSError, each with what to do about it.
    """
    with site(config) as (folders, spawner):
        adopt_orphans()
        sandbox = await sandbox_of(config, folders, spawner)
        files = FileCache(folders.files, store, max_bytes=config.cache_bytes)
        executor = Executor(
            settings=_settings(config, limits, linked=_linked(config, sandbox)),
            store=store,
            files=files,
            folders=folders,
            sandbox=sandbox,
            versions=Versions(sandbox, folders, toolchain.visible(config)),
            seeding=Seeding(config.prevent),
            prevent=config.prevent,
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                scanning = tasks.create_task(files.rescan())
                yield executor
                scanning.cancel()
        except ExceptionGroup as group:
            raise group.exceptions[0] from None


def _settings(config: schema.Worker, limits: schema.Limits, *, linked: bool) -> Settings:
    return Settings(
        name=name(config),
        default_path=config.env_path,
        linked_inputs=linked,
        max_stdio_bytes=config.max_stdio_bytes,
        max_message_bytes=limits.message_blob_bytes,
        tree=tree_limits(limits),
        outputs=OutputLimits(
            bytes=config.max_output_bytes,
            entries=limits.tree_entries,
            depth=limits.tree_depth,
        ),
    )


def _linked(config: schema.Worker, sandbox: Sandbox) -> bool:
    """Settle whether inputs are hard links; raise InputsUnsafe if they must be and must not."""
    match config.inputs:
        case "copy":
            return False
        case "auto":
            return sandbox.user is not None
        case "hardlink":
            if sandbox.user is None:
                raise InputsUnsafe(
                    'worker.inputs = "hardlink" needs actions to run as another user, so that '
                    "they cannot change what they are linked to, and that is not possible here: "
                    'start the worker as root, or set worker.inputs = "auto"'
                )
            return True
        case _:
            assert_never(config.inputs)
