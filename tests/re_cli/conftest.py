"""One server for each module of tests, and the command beside it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.re_cli.command import Holdfast
from tests.serving import Served, serving

SETTINGS = """
execution.no_worker_seconds = 2
store.upload_lease_seconds = 0.001
store.lease_seconds = 0.001
store.compression = "zstd"
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served"), SETTINGS) as server:
        yield server


@pytest.fixture
def holdfast(served: Served) -> Holdfast:
    return Holdfast(served.grpc)
