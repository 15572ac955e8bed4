"""A whole server, killed at any moment under load: it has all that it has acknowledged."""

from __future__ import annotations

import os
import random
import time
from itertools import islice
from pathlib import Path

import pytest

from protos import remote_execution_pb2 as reapi
from tests.protocol.peer import Peer, connected
from tests.re_server.load import (
    Acknowledged,
    Key,
    check_blobs,
    check_results,
    loaded,
    quarantined,
)
from tests.serving import Served, serving

ROUNDS = int(os.environ.get("HOLDFAST_SOAK_ROUNDS", "10"))  # `make soak` sets 100
LOAD_SECONDS = 1.0  # the longest load before a kill
ROUND_SECONDS = 60  # bound on one round, start and checks included
SAMPLE = 100  # older blobs and results that are checked again each time
SETTINGS = """
store.inline_bytes = 1000
worker.slots = 2
"""


def _latest_and_a_sample(
    told: Acknowledged, blobs: int, results: int, chance: random.Random
) -> tuple[list[reapi.Digest], dict[Key, reapi.Digest]]:
    """Return what was acknowledged after the first `blobs` and `results`, and some of those."""
    older = chance.sample(told.blobs[:blobs], min(SAMPLE, blobs))
    known = list(told.results)
    chosen = chance.sample(known[:results], min(SAMPLE, results))
    chosen += list(islice(known, results, None))
    return older + told.blobs[blobs:], {key: told.results[key] for key in chosen}


def _check(server: Served, blobs: list[reapi.Digest], results: dict[Key, reapi.Digest]) -> None:
    with connected(server.grpc) as peer:
        check_blobs(peer, _each_once(blobs))
        check_results(peer, results)
        assert quarantined(peer) == 0
        _check_that_it_works(peer)


def _each_once(blobs: list[reapi.Digest]) -> list[reapi.Digest]:
    return list({(each.hash, each.size_bytes): each for each in blobs}.values())


def _check_that_it_works(peer: Peer) -> None:
    told = peer.put_one(os.urandom(2000))
    assert peer.digest(peer.read(told)) == told


@pytest.mark.timeout(ROUND_SECONDS * (ROUNDS + 1))
def test_a_killed_server_has_all_that_it_acknowledged(tmp_path: Path) -> None:
    chance = random.Random()
    told = Acknowledged()
    blobs = results = 0
    for _ in range(ROUNDS):
        with serving(tmp_path, SETTINGS) as server:
            _check(server, *_latest_and_a_sample(told, blobs, results, chance))
            blobs, results = len(told.blobs), len(told.results)
            told.first.clear()
            with loaded(server.grpc, told):
                told.first.wait(ROUND_SECONDS)
                time.sleep(chance.uniform(0, LOAD_SECONDS))
                server.kill()
        assert told.faults == []
        assert len(told.blobs) > blobs
    with serving(tmp_path, SETTINGS) as server:
        _check(server, told.blobs[blobs:], told.results)
        assert server.stop() == 0
    assert told.results
    assert "Traceback" not in server.log.read_text()
