"""One server that may fetch from one origin and from one folder, for all modules here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.assets.asking import Assets, assets_of
from tests.assets.origin import Origin, origin
from tests.protocol.peer import connected
from tests.serving import Served, serving


@dataclass(frozen=True)
class Site:
    """files: a folder that may be fetched from. served: the server."""

    origin: Origin
    files: Path
    served: Served


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site").resolve()
    files, repositories = folder / "files", folder / "repositories"
    files.mkdir()
    repositories.mkdir()
    with origin(repositories) as made:
        settings = f"""
execution.enabled = false
worker.enabled = false
server.drain_seconds = 1
[assets]
allow = ["file://{files}/**", "http://localhost:{made.address.rpartition(":")[2]}/**"]
allow_private = ["http://{made.address}/**"]
max_bytes = 3000000
max_unpacked_bytes = 20000000
max_entries = 1000
default_timeout_seconds = 30
max_timeout_seconds = 30
[instances.""]
[instances.other]
"""
        with serving(folder / "served", settings) as served:
            yield Site(made, files, served)


@pytest.fixture
def assets(site: Site) -> Iterator[Assets]:
    with connected(site.served.grpc) as peer:
        yield assets_of(peer)
