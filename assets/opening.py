"""A library of assets, over an open store."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from assets.fetcher import Fetcher
from assets.http import http_origins
from assets.index import AssetIndex
from assets.library import Library
from assets.limits import AssetLimits
from assets.origins import Origins
from assets.running import RunningFetches
from cas.disk_open import OpenStore

SCRATCH = "fetching"


@asynccontextmanager
async def open_library(
    store: OpenStore, origins: Origins, limits: AssetLimits
) -> AsyncIterator[Library]:
    """Offer assets until the block ends, which ends fetches that are under way."""
    scratch = store.folder / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)  # what a killed server left
    scratch.mkdir()
    running = RunningFetches(limits.max_fetches)
    with ThreadPoolExecutor(limits.max_fetches, thread_name_prefix="assets") as threads:
        async with http_origins(origins) as http, running.ending():
            yield Library(
                AssetIndex(store.environment, most=limits.max_known),
                store.blobs,
                Fetcher(
                    store.blobs,
                    origins,
                    http,
                    scratch=scratch,
                    threads=threads,
                    limits=limits.fetch,
                ),
                running,
                named=store.blobs.named,
                origins=origins,
                tree_limits=limits.tree,
                fresh_seconds=limits.fresh_seconds,
                lease_seconds=store.blobs.limits.lease_seconds,
            )
