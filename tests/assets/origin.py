"""An HTTP server that misbehaves as it is told, in a thread of the test's own process."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler


@dataclass
class Origin:
    """address: HOST:PORT. folder: what is served below /files. asked: requests by path."""

    folder: Path
    address: str = ""
    asked: Counter[str] = field(default_factory=Counter)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    released: threading.Event = field(default_factory=threading.Event)

    def put(self, path: str, contents: bytes) -> str:
        """Serve `contents`; return its URI."""
        self.contents[path] = contents
        return self.uri(path)

    def uri(self, path: str) -> str:
        return f"http://{self.address}/{path}"

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._count])
        application.router.add_get("/status/{code}", self._status)
        application.router.add_get("/redirect/{code}/{to:.*}", self._redirect)
        application.router.add_get("/slow/{path:.*}", self._slow)
        application.router.add_get("/broken/{path:.*}", self._broken)
        application.router.add_get("/encoded/{coding}/{path:.*}", self._encoded)
        application.router.add_static("/files", self.folder)
        application.router.add_get("/{path:.*}", self._content)
        return application

    @web.middleware
    async def _count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.path[1:]
        self.asked[path] += 1
        self.headers[path] = {name.lower(): value for name, value in request.headers.items()}
        return await handler(request)

    async def _content(self, request: web.Request) -> web.Response:
        contents = self.contents.get(request.match_info["path"])
        return web.Response(status=404) if contents is None else web.Response(body=contents)

    async def _status(self, request: web.Request) -> web.Response:
        return web.Response(status=int(request.match_info["code"]))

    async def _redirect(self, request: web.Request) -> web.Response:
        to = request.match_info["to"]
        location = to.replace("~", "://", 1) if "~" in to else f"/{to}"
        return web.Response(status=int(request.match_info["code"]), headers={"Location": location})

    async def _slow(self, request: web.Request) -> web.StreamResponse:
        """Send the head at once, and the rest when the test says so."""
        contents = self.contents[request.match_info["path"]]
        response = web.StreamResponse(headers={"Content-Length": str(len(contents))})
        await response.prepare(request)
        await asyncio.to_thread(self.released.wait)
        await response.write(contents)
        return response

    async def _broken(self, request: web.Request) -> web.StreamResponse:
        contents = self.contents[request.match_info["path"]]
        response = web.StreamResponse(headers={"Content-Length": str(len(contents) + 1)})
        await response.prepare(request)
        await response.write(contents)
        assert request.transport is not None
        request.transport.close()
        return response

    async def _encoded(self, request: web.Request) -> web.Response:
        coding = request.match_info["coding"]
        contents = gzip.compress(self.contents[request.match_info["path"]])
        return web.Response(body=contents, headers={"Content-Encoding": coding})


@contextmanager
def origin(folder: Path) -> Iterator[Origin]:
    """Serve from a free port of the loopback address until the block ends."""
    made = Origin(folder)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        runner = asyncio.run_coroutine_threadsafe(_started(made), loop).result()
        yield made
        made.released.set()
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _started(made: Origin) -> web.AppRunner:
    runner = web.AppRunner(made.application(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.address = "{}:{}".format(*runner.addresses[0][:2])
    return runner
