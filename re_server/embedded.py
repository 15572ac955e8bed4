"""The worker inside the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cas.store import BlobStore
from re_config.schema import Config
from scheduler.dispatch import Dispatcher
from worker.assembly import assembled, offer_of
from worker.session import work


@asynccontextmanager
async def embedded_worker(
    config: Config, blobs: BlobStore, dispatcher: Dispatcher
) -> AsyncIterator[None]:
    """Run a worker beside the block, on the server's own store; raise SandboxUnusable."""
    offer = offer_of(config.worker)
    async with (
        assembled(config.worker, config.limits, blobs) as executor,
        dispatcher.attach(offer) as attached,
        asyncio.TaskGroup() as tasks,
    ):
        working = tasks.create_task(work(attached, executor, slots=offer.slots))
        try:
            yield
        finally:
            working.cancel()
