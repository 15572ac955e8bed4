"""The suite can fail: a fault of a server is seen by the checks of its rule, and by no others."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from conformance.check import MUST, Check, Section
from conformance.connection import Address, connected
from conformance.refusal import AnswerLost
from conformance.running import Ending, run
from conformance.sections import (
    batch_read,
    batch_update,
    capabilities,
    find_missing,
    read,
    write,
    write_messages,
)
from conformance.target import Target
from tests.conformance.wrong_server import Fault, wrong_server

MODULES = (capabilities, find_missing, batch_read, read, batch_update, write, write_messages)
RUN = [check for module in MODULES for check in vars(module).values() if isinstance(check, Check)]

SEEN_BY: Mapping[Fault, set[str]] = {
    Fault.NONE: set(),
    Fault.READ_OFFSET_IGNORED: {
        "bytestream.a_read_begins_at_its_offset",
        "bytestream.a_read_ends_at_its_limit",
        "bytestream.a_limit_may_be_beyond_the_end",
    },
    Fault.READ_LIMIT_IGNORED: {"bytestream.a_read_ends_at_its_limit"},
    Fault.HASH_NOT_VERIFIED: {
        "cas.a_wrong_hash_is_refused",
        "cas.a_wrong_size_is_refused",
        "cas.the_empty_blob_has_no_data",
        "cas.uploads_fail_one_by_one",
        "bytestream.a_wrong_hash_is_refused",
        "bytestream.too_few_bytes_are_refused",
        "bytestream.too_many_bytes_are_refused",
        # It holds what was uploaded as the empty blob before.
        "bytestream.the_empty_blob_is_written",
        "bytestream.the_empty_blob_keeps_no_bytes",
    },
    Fault.SIZE_NO_PART_OF_THE_NAME: {
        "cas.a_wrong_size_is_missing",
        "cas.a_wrong_size_is_not_read",
        "bytestream.a_wrong_size_is_refused",
    },
    Fault.EMPTY_BLOB_MISSING: {
        "cas.the_empty_blob_is_not_missing",
        "cas.the_empty_blob_is_read",
        "bytestream.the_empty_blob_is_read",
    },
    Fault.ABSENT_BLOB_FAILS_THE_BATCH: {
        "cas.absent_blobs_fail_one_by_one",
        "cas.a_wrong_size_is_not_read",
    },
    Fault.BATCH_LIMIT_NOT_KEPT: {"cas.a_full_batch_can_be_uploaded"},
    Fault.WRITE_OFFSET_NOT_CHECKED: {
        "bytestream.later_offsets_are_checked",
        "bytestream.the_first_offset_is_checked",
    },
    Fault.FINISH_NOT_AWAITED: {"bytestream.nothing_is_complete_without_the_finish"},
    Fault.WRONG_CODE_FOR_A_MISMATCH: {
        "cas.a_wrong_hash_is_refused",
        "cas.a_wrong_size_is_refused",
        "cas.the_empty_blob_has_no_data",
        "bytestream.a_wrong_hash_is_refused",
        "bytestream.too_few_bytes_are_refused",
        "bytestream.too_many_bytes_are_refused",
    },
    Fault.EXISTING_BLOB_READ_TO_ITS_END: {
        "bytestream.a_write_of_what_is_there_ends_at_once",
        "bytestream.an_overtaken_write_ends_at_once",
    },
    Fault.UNKNOWN_FUNCTION_ANNOUNCED: {
        "capabilities.digest_functions_are_named",
        "capabilities.digest_functions_are_known",
    },
}


@pytest.mark.parametrize("fault", Fault)
async def test_a_fault_is_seen_by_the_checks_of_its_rule(fault: Fault) -> None:
    async with wrong_server(fault) as address, connected(Address(address)) as target:
        broken = {
            outcome.check.id: outcome.reason
            async for outcome in run(RUN, target)
            if outcome.ending not in {Ending.PASSED, Ending.SKIPPED}
        }
    assert broken.keys() == SEEN_BY[fault], broken


async def test_what_was_said_is_told_where_a_rule_is_broken() -> None:
    (check,) = (each for each in RUN if each.id == "bytestream.a_read_begins_at_its_offset")
    fault = Fault.READ_OFFSET_IGNORED
    async with wrong_server(fault) as address, connected(Address(address)) as target:
        (outcome,) = [outcome async for outcome in run([check], target)]
    told = "\n".join(outcome.exchanges)
    assert "ByteStream.Read" in told
    assert "read_offset: 1" in told
    assert "< ReadResponse" in told


async def test_a_check_is_run_again_where_the_library_loses_the_answer() -> None:
    runs: list[Target] = []

    @Section("bytestream")(MUST, "An answer comes.", source="grpc.aio")
    async def loses_one_answer(target: Target) -> None:
        runs.append(target)
        if len(runs) == 1:
            raise AnswerLost

    @Section("bytestream")(MUST, "An answer comes.", source="grpc.aio")
    async def loses_every_answer(_: Target) -> None:
        raise AnswerLost

    async with wrong_server(Fault.NONE) as address, connected(Address(address)) as target:
        endings = [
            each.ending async for each in run([loses_one_answer, loses_every_answer], target)
        ]
    assert endings == [Ending.PASSED, Ending.ERROR]
    assert len(runs) == 2
