"""A worker process: one stream to the server after the other, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from dataclasses import dataclass, field, replace

from re_client.blobs import RemoteStore
from re_client.connection import Connection, Retry, connected
from re_client.credentials import Credentials
from re_client.parallel import first_of
from re_client.worker_link import WORKER_HEADER, worker_link
from re_config.schema import Config
from worker.assembly import InputsUnsafe, assembled, offer_of
from worker.folders import FolderTaken
from worker.sandbox import SandboxUnavailable
from worker.session import work

# For a server that is restarted: half a minute for one call, for ever for the worker's stream.
RETRY = Retry(attempts=10, first_seconds=0.2, longest_seconds=5)
UNUSABLE = (FolderTaken, InputsUnsafe, SandboxUnavailable)  # why a worker may not be able to work
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Stop:
    """What the signals ask for: to take no more work, and to end at once."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: asyncio.Event = field(default_factory=asyncio.Event)

    def on_signal(self) -> None:
        if self.asked.is_set():
            log.warning("stopping at once")
            self.at_once.set()
        else:
            log.info("stopping when what runs has ended; a second signal ends at once")
        self.asked.set()


async def work_until_stopped(
    server: str, instance_name: str, credentials: Credentials, config: Config
) -> None:
    """Run actions for `server` until SIGTERM or SIGINT.

    Raises UNUSABLE, and what a server that refuses the worker answers.
    """
    stop = _Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.on_signal)
    async with connected(server, retry=RETRY, credentials=credentials) as opened:
        connection = replace(opened, headers=(*opened.headers, (WORKER_HEADER, b"1")))
        await first_of(_work(connection, instance_name, config, stop.asked), stop.at_once.wait())


async def _work(
    connection: Connection, instance_name: str, config: Config, asked: asyncio.Event
) -> None:
    """Open the store, then one stream after the other, until `asked` to stop."""
    store = await _opened(connection, instance_name, asked)
    if store is None:
        return
    offer = offer_of(config.worker)
    async with assembled(config.worker, config.limits, store) as executor:
        failed = 0
        while not asked.is_set():
            try:
                async with worker_link(connection, offer) as link:
                    log.info("%s works for %s", offer.name, connection.server)
                    failed = 0
                    await work(link, executor, slots=offer.slots, drain=asked)
            except ConnectionError as error:
                failed += 1
                await _pause(error, failed, asked)


async def _opened(
    connection: Connection, instance_name: str, asked: asyncio.Event
) -> RemoteStore | None:
    """Connect to the server's store, as soon as it is there; None if `asked` to stop before."""
    failed = 0
    while not asked.is_set():
        try:
            return await RemoteStore.open(connection, instance_name)
        except ConnectionError as error:
            failed += 1
            await _pause(error, failed, asked)
    return None


async def _pause(error: ConnectionError, failed: int, asked: asyncio.Event) -> None:
    log.warning("%s; trying again", error)
    await first_of(RETRY.pause(failed), asked.wait())
