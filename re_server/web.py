"""The web port: metrics, health, and the HTTP cache."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from re_server.http_cache import HttpCache
from re_server.tls import Certificates, web_context
from re_server.web_access import WebAccess


@asynccontextmanager
async def web_server(
    address: str,
    registry: CollectorRegistry,
    ready: Callable[[], bool],
    cache: HttpCache | None,
    *,
    access: WebAccess,
    files: Certificates | None,
) -> AsyncIterator[str]:
    """Serve HTTP at `address` (HOST:PORT) during the block; yield the address that it got.

    ready: whether new work is taken; /readyz says 503 where it is not. cache: what answers all
    other paths. access: who may read /metrics. files: what it is encrypted with; None: nothing is.
    Raises OSError if the address is taken.
    """

    async def metrics(request: web.Request) -> web.Response:
        await access.may_read_metrics(request)
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def healthz(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        if ready():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="stopping\n")

    application = web.Application()
    application.router.add_get("/metrics", metrics)
    application.router.add_get("/healthz", healthz)
    application.router.add_get("/readyz", readyz)
    if cache is not None:
        application.router.add_route("*", "/{path:.*}", cache.answer)
    # Bodies are decompressed by who reads them, in bounded memory.
    runner = web.AppRunner(application, access_log=None, auto_decompress=False)
    await runner.setup()
    host, _, port = address.rpartition(":")
    try:
        secured = web_context(files) if files is not None else None
        site = web.TCPSite(runner, host.strip("[]"), int(port), ssl_context=secured)
        try:
            await site.start()
        except OSError as error:
            raise OSError(f"server.web = {address!r} cannot be used: {error.strerror}") from error
        yield f"{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
