"""An action that runs until the test lets it go."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from google.longrunning import operations_pb2

from tests.protocol.actions import put_script
from tests.protocol.peer import CALL_SECONDS, Executed, Peer

# Actions that see the host's files, so that the test can speak to them.
SETTINGS = 'worker.sandbox.kind = "none"\nworker.slots = 1\n'
PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class Gate:
    """folder: where the action says its process id, and waits for the file `open`."""

    folder: Path
    stream: Iterator[operations_pb2.Operation]

    def open(self) -> None:
        (self.folder / "open").touch()

    def process(self) -> int:
        """Return the process id of the action's shell, once it runs."""
        said = self.folder / "process"
        while not (said.exists() and said.read_text().strip()):
            time.sleep(PAUSE_SECONDS)
        return int(said.read_text())

    def executed(self) -> Executed:
        """Return what came over the stream until it ended."""
        return Executed(list(self.stream))


@contextmanager
def running(peer: Peer, folder: Path) -> Iterator[Gate]:
    """Have an action run, which says `done` in its output when the gate is opened."""
    folder.mkdir()
    folder.chmod(0o777)
    wait = f"while [ ! -e {folder}/open ]; do sleep {PAUSE_SECONDS}; done"
    action = put_script(peer, f"echo $$ > {folder}/process; {wait}; echo done > out", "out")
    stream = peer.execution.Execute(peer.execute_request(action), timeout=CALL_SECONDS)
    gate = Gate(folder, iter(stream))
    gate.process()
    try:
        yield gate
    finally:
        gate.open()


def lives(process: int) -> bool:
    """Tell whether a process is there and has not ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    try:
        return state.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
