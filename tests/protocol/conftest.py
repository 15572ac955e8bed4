"""A server for the modules of tests, and a connection to it for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from protos import remote_execution_pb2 as reapi
from tests.protocol.blobs import ALL_FUNCTIONS, FUNCTIONS, name_of
from tests.protocol.peer import Peer, connected
from tests.protocol.servers import Servers, servers_in
from tests.serving import Served

TEST_SECONDS = 90
# A module that needs another server has its own constant SETTINGS.
DEFAULTS = """
server.drain_seconds = 2
execution.no_worker_seconds = 2
execution.default_timeout_seconds = 100
execution.max_timeout_seconds = 100
execution.heartbeat_seconds = 1
worker.slots = 8

[instances.""]
[instances."a/b"]
[instances.blake3]
digest_function = "blake3"
[instances.sha1]
digest_function = "sha1"
[instances.sha256tree]
digest_function = "sha256tree"
[instances.gitsha1]
digest_function = "gitsha1"
[instances.replace]
allow_pin_replace = true
[instances.strict]
determinism = "strict"
[instances.observe]
determinism = "observe"
[instances.off]
determinism = "off"
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(TEST_SECONDS))


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with servers_in(tmp_path_factory.mktemp("servers")) as made:
        yield made


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest, servers: Servers) -> Served:
    return servers.get(getattr(request.module, "SETTINGS", DEFAULTS))


@pytest.fixture
def peer(served: Served) -> Iterator[Peer]:
    """The instance "" in SHA256."""
    with connected(served.grpc) as made:
        yield made


@pytest.fixture(params=FUNCTIONS, ids=name_of)
def each(peer: Peer, request: pytest.FixtureRequest) -> Peer:
    """The instance "" in the digest functions of most clients, which every request names."""
    function: reapi.DigestFunction.Value.ValueType = request.param
    return peer.using(function)


@pytest.fixture(params=ALL_FUNCTIONS, ids=name_of)
def every(peer: Peer, request: pytest.FixtureRequest) -> Peer:
    """As `each`, in every digest function that is served."""
    function: reapi.DigestFunction.Value.ValueType = request.param
    return peer.using(function)
