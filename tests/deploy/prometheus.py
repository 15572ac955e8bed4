"""A real Prometheus, with the configuration of deploy/, that scrapes one server."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.deploy.promtool import ALERTS, PROMETHEUS

START_SECONDS = 60.0
ANSWER_SECONDS = 30.0
PAUSE_SECONDS = 0.2


@dataclass(frozen=True)
class Prometheus:
    """address: HOST:PORT."""

    address: str

    def ask(self, path: str, **parameters: str) -> Any:
        """Ask its API; return the data; fail if it says that the question is wrong."""
        url = f"http://{self.address}/api/v1/{path}?{urlencode(parameters)}"
        with urlopen(url, timeout=ANSWER_SECONDS) as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return the labels and the value of each series that `expression` gives now."""
        result = self.ask("query", query=expression)["result"]
        return [(each["metric"], float(each["value"][1])) for each in result]

    def value(self, expression: str) -> float:
        """Return the sum of what `expression` gives; 0 where it gives nothing."""
        return sum(value for _, value in self.query(expression))

    def scraped(self) -> float:
        """Return how many scrapes there were."""
        return self.value("count_over_time(up[1h])")


def wait_for(holds: Callable[[], bool], what: str, *, seconds: float = START_SECONDS) -> None:
    """Ask again until it `holds`; fail, naming `what`, where it never does."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(PAUSE_SECONDS)


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    """Run it in `folder` during the block. target: HOST:PORT that it scrapes, twice a second."""
    folder.mkdir()
    config = PROMETHEUS.read_text()
    for said, meant in (("15s", "500ms"), ("127.0.0.1:8981", target)):
        assert said in config
        config = config.replace(said, meant)
    (folder / "prometheus.yml").write_text(config)
    shutil.copy(ALERTS, folder)
    address = f"127.0.0.1:{_free_port()}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            wait_for(lambda: _ready(process, address), f"not ready; see {folder}/log")
            yield Prometheus(address)
        finally:
            process.terminate()
            process.wait(timeout=START_SECONDS)


def _ready(process: subprocess.Popen[bytes], address: str) -> bool:
    assert process.poll() is None, "prometheus has ended"
    try:
        with urlopen(f"http://{address}/-/ready", timeout=ANSWER_SECONDS):
            return True
    except (URLError, HTTPException, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
