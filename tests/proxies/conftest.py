from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.protocol.peer import Peer, connected
from tests.serving import Served, serving

SETTINGS = "default.lenient = true"  # bazel-remote leaves offsets out


@pytest.fixture(scope="session")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server that the proxies ask."""
    with serving(tmp_path_factory.mktemp("behind"), SETTINGS) as served:
        yield served


@pytest.fixture
def ours(behind: Served) -> Iterator[Peer]:
    """The same server, asked directly."""
    with connected(behind.grpc) as peer:
        yield peer
