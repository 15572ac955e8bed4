from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.protocol.servers import Servers, servers_in


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with servers_in(tmp_path_factory.mktemp("servers")) as made:
        yield made
