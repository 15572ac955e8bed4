"""The worker inside the server."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cas.store import BlobStore
from determinism.canonical import canonicalise_file
from protos import remote_execution_pb2 as reapi, worker_pb2
from re_config.schema import Config, Worker
from scheduler.dispatch import Dispatcher
from worker.assembly import assembled
from worker.session import work


@asynccontextmanager
async def embedded_worker(
    config: Config, blobs: BlobStore, dispatcher: Dispatcher
) -> AsyncIterator[None]:
    """Run a worker beside the block, on the server's own store; raise SandboxUnusable."""
    offer = offer_of(config.worker)
    async with (
        assembled(config.worker, config.limits, blobs, canonicalise_file) as executor,
        dispatcher.attach(offer) as attached,
        asyncio.TaskGroup() as tasks,
    ):
        working = tasks.create_task(work(attached, executor, slots=offer.slots))
        try:
            yield
        finally:
            working.cancel()


def offer_of(config: Worker) -> worker_pb2.Offer:
    """Say what a worker of this configuration offers."""
    platform = reapi.Platform()
    for name, values in sorted(config.platform.items()):
        for value in [values] if isinstance(values, str) else values:
            platform.properties.add(name=name, value=value)
    return worker_pb2.Offer(
        name=config.name or f"{socket.gethostname()}-{os.getpid()}",
        platform=platform,
        slots=config.slots or os.cpu_count() or 1,
    )
