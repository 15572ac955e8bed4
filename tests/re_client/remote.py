"""A server in this process, on a store in a folder, and its blobs as a client sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cas.store import BlobStore
from re_client.blobs import RemoteStore
from re_client.connection import Connection, connected
from re_config.load import parse
from re_server.serve import running
from tests.serving import config_text


@asynccontextmanager
async def server_connection(folder: Path, settings: str = "") -> AsyncIterator[Connection]:
    """Serve from `folder` without a worker, and yield a connection.

    settings: as for tests.serving.config_text.
    """
    text = config_text(folder, f"worker.enabled = false\n{settings}", listen="127.0.0.1:0")
    async with (
        running(parse(text, "test"), asyncio.Event()) as ready,
        connected(ready.grpc) as connection,
    ):
        yield connection


@asynccontextmanager
async def remote(folder: Path) -> AsyncIterator[BlobStore]:
    """Make a store for the suite of every store's contract: tests/cas/stores.py."""
    async with server_connection(folder) as connection:
        yield await RemoteStore.open(connection, "")
