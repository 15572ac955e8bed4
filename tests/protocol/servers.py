"""Servers that several modules of tests share, since a start costs more than most tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.serving import Served, serving


class Servers:
    """One running server for each text of settings that is asked for."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self._folder = folder
        self._running = running
        self._by_settings: dict[str, Served] = {}
        self._started = 0

    def get(self, settings: str) -> Served:
        """Return the server with `settings`; start it if there is none, or if it has ended."""
        server = self._by_settings.get(settings)
        if server is None or server.process.poll() is not None:
            self._started += 1
            folder = self._folder / str(self._started)
            server = self._running.enter_context(serving(folder, settings))
            self._by_settings[settings] = server
        return server


@contextmanager
def servers_in(folder: Path) -> Iterator[Servers]:
    """Serve from below `folder`, whatever is asked for, until the block ends."""
    with ExitStack() as running:
        yield Servers(folder, running)
