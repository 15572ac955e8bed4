"""What becomes of a worker's result: kept, pinned, answered, or made a failure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from google.rpc.code_pb2 import DEADLINE_EXCEEDED

from action_cache.disk import DiskResults
from action_cache.mode import Mode
from action_cache.results import ActionKey
from cas.digest import Digest
from cas.disk_open import OpenStore
from cas.tree import MissingInputs, TreeLimits
from cas.wire import digest_to
from determinism.judge import Judge
from determinism.policy import Verdict
from protos import remote_execution_pb2 as reapi, worker_pb2
from re_server.caller import Caller
from re_server.executions import Execution
from re_server.hits import Hit, Hits
from re_server.settlement import DIFFERENT, Settlement
from re_server.witness import Conflict, Witness
from scheduler.attached import Ran
from scheduler.request import Rewriting
from tests.cas.disks import opened
from tests.cas.stores import put

ACTION = Digest.of(b"an action")
KEY = ActionKey("main", ACTION)
EXECUTION = Execution(
    instance="main",
    action=ACTION,
    platform=(),
    priority=0,
    invocation="",
    input_root=Digest.of(b""),
    named=(),
    timeout_seconds=10,
    rewriting=Rewriting(),
    mergeable=True,
    cacheable=True,
    fresh=False,
    mode=Mode.PIN,
    replace=False,
    program="cc",
    caller=Caller("an invocation", "//a:target", "CppCompile", "bazel 7"),
)
RAN = Ran("w", "tools", worker_pb2.Report(rules="ar.1", program="cc"))
FRESH = replace(EXECUTION, fresh=True)
STRICT = replace(EXECUTION, mode=Mode.STRICT)


class Office:
    """A Settlement over a store, and what it was told to count."""

    def __init__(self, store: OpenStore) -> None:
        self.blobs = store.blobs
        self.results = DiskResults(store.environment, store.index)
        self.judge = Judge(self.results)
        self.hits = Hits(seconds=1000)
        self.counted: list[int] = []
        self.conflicts: list[Conflict | None] = []
        self.settlement = Settlement(
            store.blobs,
            self.judge,
            self.hits,
            TreeLimits(),
            Witness(None),
            counted=lambda response: self.counted.append(response.result.exit_code),
            settled=lambda execution, seconds, conflict: self.conflicts.append(conflict),
        )

    async def response(
        self, output: bytes, *, said: bytes = b"", exit_code: int = 0, worker: str = "w"
    ) -> reapi.ExecuteResponse:
        """Return what a worker delivers, its blobs uploaded."""
        response = reapi.ExecuteResponse()
        digest = digest_to(await put(self.blobs, output))
        response.result.output_files.add(path="out", digest=digest)
        response.result.exit_code = exit_code
        response.result.execution_metadata.worker = worker
        if said:
            response.result.stderr_digest.CopyFrom(digest_to(await put(self.blobs, said)))
        return response

    async def settled(
        self, output: bytes, execution: Execution = EXECUTION, *, worker: str = "w"
    ) -> reapi.ExecuteResponse:
        return await self.settlement.settle(
            execution, await self.response(output, worker=worker), RAN
        )

    async def kept(self) -> reapi.ActionResult | None:
        kept = await self.results.find(KEY)
        return kept.result if kept else None


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with opened(tmp_path) as store:
        yield Office(store)


def output(response: reapi.ExecuteResponse) -> str:
    return response.result.output_files[0].digest.hash


async def test_the_first_success_is_answered_kept_and_pinned(office: Office) -> None:
    response = await office.settled(b"1")
    assert output(response) == Digest.of(b"1").hash
    assert await office.kept() == response.result
    pin = await office.results.pin(KEY)
    assert pin is not None
    assert pin.kept.result == response.result


async def test_a_later_run_is_answered_the_first_result(office: Office) -> None:
    first = await office.settled(b"1", worker="first")
    later = await office.settled(b"2", worker="later")
    assert later.result == first.result
    assert later.result.execution_metadata.worker == "first"
    assert office.judge.settled[Verdict.CONFLICT] == 1


async def test_a_fresh_run_is_answered_its_own_result_and_the_pin_stays(office: Office) -> None:
    # REAPI rule: the answer to skip_cache_lookup is of a run that began after the request.
    first = await office.settled(b"1")
    fresh = await office.settled(b"2", FRESH)
    assert output(fresh) == Digest.of(b"2").hash
    assert await office.kept() == first.result
    again = await office.settled(b"1", FRESH, worker="its own")
    assert again.result.execution_metadata.worker == "its own"


async def test_who_asks_to_replace_makes_it_the_pin(office: Office) -> None:
    await office.settled(b"1")
    replaced = await office.settled(b"2", replace(FRESH, replace=True))
    assert await office.kept() == replaced.result
    assert output(await office.settled(b"3")) == Digest.of(b"2").hash


@pytest.mark.parametrize("mode", Mode)
async def test_what_is_not_to_be_cached_is_neither_kept_nor_compared(
    office: Office, mode: Mode
) -> None:
    # REAPI rule: do_not_cache.
    execution = replace(EXECUTION, mergeable=False, cacheable=False, mode=mode)
    assert output(await office.settled(b"1", execution)) == Digest.of(b"1").hash
    assert output(await office.settled(b"2", execution)) == Digest.of(b"2").hash
    assert await office.kept() is None
    assert await office.results.pin(KEY) is None
    assert not office.judge.settled


@pytest.mark.parametrize("mode", Mode)
async def test_a_failure_is_answered_and_not_kept(office: Office, mode: Mode) -> None:
    # REAPI rule: what is not a success is not cached.
    failed = await office.response(b"1", exit_code=3)
    execution = replace(EXECUTION, mode=mode)
    assert (await office.settlement.settle(execution, failed, RAN)).result.exit_code == 3
    timed_out = await office.response(b"1")
    timed_out.status.code = DEADLINE_EXCEEDED
    settled = await office.settlement.settle(execution, timed_out, RAN)
    assert settled.status.code == DEADLINE_EXCEEDED
    assert await office.kept() is None
    assert await office.results.pin(KEY) is None


async def test_a_failure_leaves_a_success_as_it_was(office: Office) -> None:
    first = await office.settled(b"1")
    await office.settlement.settle(EXECUTION, await office.response(b"2", exit_code=1), RAN)
    assert await office.kept() == first.result


@pytest.mark.parametrize("mode", [Mode.OFF, Mode.OBSERVE])
async def test_where_nothing_is_held_to_the_first_the_newest_is_kept(
    office: Office, mode: Mode
) -> None:
    await office.settled(b"1", replace(EXECUTION, mode=mode))
    second = await office.settled(b"2", replace(EXECUTION, mode=mode))
    assert output(second) == Digest.of(b"2").hash
    assert await office.kept() == second.result


@pytest.mark.parametrize("fresh", [False, True])
async def test_strictly_a_difference_is_a_failure_that_says_what_differs(
    office: Office, *, fresh: bool
) -> None:
    # Policy: status OK, exit code 1, since clients retry infrastructure errors locally.
    first = await office.settled(b"1", STRICT)
    assert first.result.exit_code == 0
    later = await office.response(b"2", said=b"the compiler's own words\n")
    response = await office.settlement.settle(replace(STRICT, fresh=fresh), later, RAN)
    assert response.status.code == 0
    assert response.result.exit_code == DIFFERENT
    for part in (str(ACTION), "out: ", Digest.of(b"1").hash, Digest.of(b"2").hash):
        assert part in response.message
    stderr = response.result.stderr_digest
    said = await office.blobs.read_all(Digest(stderr.hash, stderr.size_bytes))
    words = Digest.of(b"the compiler's own words\n")
    assert said.startswith(b"the compiler's own words\nholdfast: ")
    assert response.message.startswith(said.decode().partition("\n")[2][:200])
    assert f"stderr: absent -> {words}" in response.message
    assert await office.kept() == first.result
    assert office.judge.settled == {Verdict.FIRST: 1, Verdict.CONFLICT: 1}


async def test_strictly_the_same_result_is_a_success(office: Office) -> None:
    await office.settled(b"1", STRICT)
    assert (await office.settled(b"1", STRICT)).result.exit_code == 0
    assert (await office.settled(b"1", replace(STRICT, fresh=True))).result.exit_code == 0


async def test_strictly_a_replacement_is_no_failure(office: Office) -> None:
    await office.settled(b"1", STRICT)
    response = await office.settled(b"2", replace(STRICT, fresh=True, replace=True))
    assert response.result.exit_code == 0
    assert output(response) == Digest.of(b"2").hash


async def test_a_result_whose_blobs_are_not_there_is_not_kept(office: Office) -> None:
    response = reapi.ExecuteResponse()
    response.result.output_files.add(path="out", digest=digest_to(Digest.of(b"not uploaded")))
    with pytest.raises(MissingInputs):
        await office.settlement.settle(EXECUTION, response, RAN)
    assert await office.kept() is None


async def test_every_response_is_counted_as_it_came_from_its_worker(office: Office) -> None:
    await office.settled(b"1", STRICT)
    await office.settled(b"2", STRICT)
    await office.settlement.settle(EXECUTION, await office.response(b"1", exit_code=7), RAN)
    assert office.counted == [0, 0, 7]


async def test_answers_that_were_remembered_are_forgotten(office: Office) -> None:
    assert office.hits.get(b"request") is None
    office.hits.add(b"request", Hit(KEY, b"an old answer", ()), office.hits.moment)
    await office.settled(b"1")
    assert office.hits.get(b"request") is None
