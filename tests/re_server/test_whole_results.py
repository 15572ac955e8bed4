"""Outputs of two runs are never mixed: whatever is answered is one run's, whole."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from action_cache.mode import Mode
from action_cache.results import Kept
from cas.digest import Digest
from determinism.judge import Judge
from determinism.policy import Verdict
from protos import remote_execution_pb2 as reapi
from tests.action_cache.stored import Stored, action, stored
from tests.protocol.actions import command, outputs_of, put_action, stdout_of
from tests.protocol.blobs import unique
from tests.protocol.peer import Peer, connected
from tests.serving import Served, serving

SETTINGS = """
store.upload_lease_seconds = 5
store.lease_seconds = 5
worker.slots = 4

[instances.""]
[instances.replace]
allow_pin_replace = true
"""
PATHS = ("a", "b")
RUNS = 40
CLIENTS = 4
# One tag for each run in both outputs and on stdout; `same` is the same in every run.
TAGGED = "tag=$(cat /proc/sys/kernel/random/uuid); for f in a b; do echo $f $tag > $f; done; "
TAGGED += "echo same > same; echo stdout $tag"


def tags(parts: Mapping[str, bytes]) -> set[bytes]:
    """Return the tags of the runs that `parts` of one result come from."""
    return {data.split()[1] for name, data in parts.items() if name != "same"}


def parts_of(peer: Peer, result: reapi.ActionResult) -> dict[str, bytes]:
    return {**outputs_of(peer, result), "stdout": stdout_of(peer, result)}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served"), SETTINGS) as server:
        yield server


def inlined(peer: Peer, digest: reapi.Digest) -> reapi.ActionResult:
    """Return the cached result with all in it that can be."""
    request = reapi.GetActionResultRequest(
        instance_name=peer.instance,
        action_digest=digest,
        inline_stdout=True,
        inline_stderr=True,
        inline_output_files=PATHS,
    )
    return peer.action_cache.GetActionResult(request)


def uploaded(peer: Peer) -> reapi.ActionResult:
    """Return the result of a run of a client's own."""
    tag = unique(16).hex().encode()
    outputs = [name.encode() + b" " + tag for name in (*PATHS, "stdout")]
    *digests, said = peer.put(*outputs)
    result = reapi.ActionResult(stdout_digest=said)
    for path, digest in zip(PATHS, digests, strict=True):
        result.output_files.add(path=path, digest=digest)
    result.output_files.add(path="same", digest=peer.put_one(b"same\n"))
    return result


def act(peer: Peer, digest: reapi.Digest, chance: random.Random) -> reapi.ActionResult:
    """Do one of all that answers with a result, or changes what is answered."""
    replace = (("holdfast-pin", "replace"),) if chance.random() < 0.3 else ()
    match chance.randrange(5):
        case 0:
            return peer.execute(digest).result
        case 1:
            return peer.execute(digest, skip_cache_lookup=True, metadata=replace).result
        case 2:
            return peer.update_result(digest, uploaded(peer), metadata=replace)
        case 3:
            return inlined(peer, digest)
        case _:
            return peer.get_result(digest)


def test_every_answer_is_of_one_run_whatever_goes_on(served: Served) -> None:
    with connected(served.grpc) as first:
        there = first.at("replace")
        digest = put_action(there, command(TAGGED, outputs=[*PATHS, "same"]))
        there.execute(digest)
    seen: list[set[bytes]] = []

    def client(seed: int) -> None:
        chance = random.Random(seed)
        with connected(served.grpc) as peer:
            for _ in range(RUNS):
                found = tags(parts_of(peer, act(peer.at("replace"), digest, chance)))
                seen.append(found)

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(client, range(CLIENTS)))
    assert len(seen) == CLIENTS * RUNS
    assert {len(found) for found in seen} == {1}
    assert len(set.union(*seen)) > 1


async def run(here: Stored, tag: bytes) -> Kept:
    return await here.kept(b"a " + tag, b"b " + tag, b"same")


@pytest.mark.parametrize("lost", [[b"a 1"], [b"b 1"], [b"same"], [b"a 1", b"same"]])
@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.PIN, Mode.STRICT])
async def test_what_is_left_of_a_pin_is_not_filled_up_from_another_run(
    tmp_path: Path, mode: Mode, lost: list[bytes]
) -> None:
    with stored(tmp_path) as here:
        judge, key = Judge(here.results), action()
        first = await run(here, b"1")
        await judge.settle(key, first, mode)
        await here.drop(map(Digest.of, lost))
        second = await run(here, b"2")  # which brings back what is the same in both
        decision = await judge.settle(key, second, mode)
        pin = await here.results.pin(key)
        assert pin is not None
        whole = not await here.store.blobs.find_missing(first.references)
        assert decision.verdict is (Verdict.CONFLICT if whole else Verdict.SUPERSEDED)
        expected = first if whole and mode is not Mode.OBSERVE else second
        assert decision.answer == await here.results.find(key) == expected
        assert pin.kept == (first if whole else second)
