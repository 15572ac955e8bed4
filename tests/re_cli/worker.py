"""A `holdfast worker` in a process of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.serving import HOLDFAST


@contextmanager
def working(
    folder: Path, server: str, *options: str, settings: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """Run `holdfast worker` during the block; its log is `folder`/worker.log.

    settings: TOML that is put behind what is set here.
    """
    folder.mkdir(exist_ok=True)
    config = folder / "worker.toml"
    config.write_text(
        f'worker.path = "{folder}/cache"\nworker.name = "apart"\nworker.slots = 2\n{settings}\n'
    )
    with (folder / "worker.log").open("a") as log:
        process = subprocess.Popen(
            [HOLDFAST, "worker", "--server", server, "--config", config, *options],
            stderr=log,
            text=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
