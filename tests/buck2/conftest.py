"""A server for the modules of tests, and a client of it for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.buck2.connection import Connection, connected
from tests.protocol.servers import Servers, servers_in
from tests.serving import Served

TEST_SECONDS = 120
# A module that needs another server has its own constant SETTINGS.
DEFAULTS = """
server.drain_seconds = 2
execution.no_worker_seconds = 2
execution.heartbeat_seconds = 1
worker.slots = 8

[instances.""]
[instances."a/b"]
[instances.blake3]
digest_function = "blake3"
[instances.sha1]
digest_function = "sha1"
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        of_here = Path(__file__).parent in item.path.parents
        if of_here and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(TEST_SECONDS))


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with servers_in(tmp_path_factory.mktemp("servers")) as made:
        yield made


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest, servers: Servers) -> Served:
    return servers.get(getattr(request.module, "SETTINGS", DEFAULTS))


@pytest.fixture
async def client(served: Served) -> AsyncIterator[Connection]:
    async with connected(served.grpc) as connection:
        yield connection
