from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.worker.site import BUBBLEWRAP, SETTINGS, Site, site


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Site]:
    """A worker in its usual set-up."""
    async with site(tmp_path / "worker", BUBBLEWRAP) as made:
        yield made


@pytest.fixture(params=SETTINGS)
async def any_worker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    """A worker in each of the set-ups."""
    async with site(tmp_path / "worker", SETTINGS[request.param]) as made:
        yield made
