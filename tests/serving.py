"""A real `holdfast serve` in a process of its own, for tests that talk to it as clients do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HOLDFAST = Path(sys.executable).with_name("holdfast")
START_SECONDS = 60


@dataclass
class Served:
    """A running server. grpc, web: HOST:PORT. log: what it writes to stderr."""

    process: subprocess.Popen[str]
    grpc: str
    web: str
    log: Path

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """End it gracefully; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@contextmanager
def serving(folder: Path, settings: str = "", *, listen: str = "127.0.0.1:0") -> Iterator[Served]:
    """Serve from `folder` (store, worker's cache, log) until the block ends.

    settings: TOML that is put behind the tables made here ([server] and [store] hold more keys if
    `settings` starts with lines for them: see `config_text`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "holdfast.toml"
    config.write_text(config_text(folder, settings, listen=listen))
    log = folder / "holdfast.log"
    with log.open("a") as errors:
        process = subprocess.Popen(
            [HOLDFAST, "serve", "--json", "--config", config],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "default"},
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        process.stdout.close()
        process.wait(timeout=START_SECONDS)
        raise RuntimeError(f"holdfast serve did not start:\n{log.read_text()[-4000:]}")
    ready = json.loads(line)
    served = Served(process, ready["grpc"], ready["web"], log)
    try:
        yield served
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()


def config_text(folder: Path, settings: str, *, listen: str) -> str:
    """Return a configuration that keeps everything below `folder`.

    settings: dotted keys (`store.max_bytes = 1000`) and, after them, tables.
    """
    return (
        f'server.listen = "{listen}"\n'
        'server.web = "127.0.0.1:0"\n'
        f'store.kind = "disk"\nstore.path = "{folder}/store"\n'
        f'worker.path = "{folder}/worker"\n{settings}\n'
    )
