"""The one writer of an index: group commit, errors, and the end."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest

from cas.environment import GROUP_CHANGES, Database, Environment, Read
from cas.store import StoreFull

MIB = 1 << 20


@pytest.fixture(params=[False, True], ids=["process", "fsync"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Environment]:
    with Environment(tmp_path, map_bytes=16 * MIB, durable=request.param) as made:
        yield made


def _put(database: Database, key: bytes, value: bytes) -> Callable[[Read], bool]:
    return lambda write: write.put(key, value, db=database)


def _get(environment: Environment, database: Database, key: bytes) -> bytes | None:
    with environment.read() as read:
        return read.get(key, db=database)


class Held:
    """Holds the writer in a change, so that those that come meanwhile are committed as one."""

    def __init__(self, environment: Environment) -> None:
        self._go_on = threading.Event()
        environment.write_soon(lambda write: self._go_on.wait())

    def release(self) -> None:
        self._go_on.set()


async def _after_all_have_come(held: Held, count: int) -> None:
    """Release the writer once `count` tasks that were just made have entered their changes."""
    for _ in range(count):
        await asyncio.sleep(0)
    held.release()


async def test_write_returns_what_the_change_returns_once_it_is_committed(
    environment: Environment,
) -> None:
    database = environment.database("test")
    assert await environment.write(_put(database, b"key", b"value")) is True
    assert _get(environment, database, b"key") == b"value"
    assert environment.write_now(lambda write: write.get(b"key", db=database)) == b"value"


async def test_changes_that_wait_are_committed_as_one(environment: Environment) -> None:
    database = environment.database("test")
    held = Held(environment)
    async with asyncio.TaskGroup() as tasks:
        transactions = [
            tasks.create_task(environment.write(lambda write: write.id())) for _ in range(100)
        ]
        await _after_all_have_come(held, 3)
    assert len({transaction.result() for transaction in transactions}) == 1
    assert _get(environment, database, b"key") is None


async def test_a_group_has_a_bound(environment: Environment) -> None:
    database = environment.database("test")
    held = Held(environment)
    seen: list[int] = []

    def change(write: Read) -> None:
        write.put(b"key", b"value", db=database)
        seen.append(write.id())

    async with asyncio.TaskGroup() as tasks:
        for _ in range(GROUP_CHANGES + 10):
            tasks.create_task(environment.write(change))
        await _after_all_have_come(held, 3)
    assert len(set(seen)) == 2


async def test_changes_happen_in_the_order_they_came(environment: Environment) -> None:
    database = environment.database("test")
    held = Held(environment)
    async with asyncio.TaskGroup() as tasks:
        for number in range(50):
            tasks.create_task(environment.write(_put(database, b"key", b"%d" % number)))
        await _after_all_have_come(held, 3)
    assert _get(environment, database, b"key") == b"49"


async def test_a_change_that_fails_harms_no_other_of_its_group(environment: Environment) -> None:
    database = environment.database("test")
    held = Held(environment)

    def fail(write: Read) -> None:
        write.put(b"failed", b"value", db=database)
        raise LookupError("this change's own fault")

    async with asyncio.TaskGroup() as tasks:
        before = tasks.create_task(environment.write(_put(database, b"before", b"value")))
        failing = tasks.create_task(_outcome(environment, fail))
        after = tasks.create_task(environment.write(_put(database, b"after", b"value")))
        await _after_all_have_come(held, 3)
    assert before.result() is True
    assert after.result() is True
    assert repr(failing.result()) == repr(LookupError("this change's own fault"))
    assert _get(environment, database, b"before") == b"value"
    assert _get(environment, database, b"after") == b"value"
    assert _get(environment, database, b"failed") is None


async def _outcome(environment: Environment, change: Callable[[Read], object]) -> Exception | None:
    try:
        await environment.write(change)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is asked for
        return error
    return None


async def test_a_change_that_was_cancelled_before_its_turn_is_not_made(
    environment: Environment,
) -> None:
    database = environment.database("test")
    held = Held(environment)
    waiting = asyncio.create_task(environment.write(_put(database, b"key", b"value")))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    held.release()
    await environment.write(lambda write: None)
    assert _get(environment, database, b"key") is None


async def test_what_nobody_waits_for_may_fail(environment: Environment) -> None:
    def fail(write: Read) -> None:
        raise LookupError

    environment.write_soon(fail)
    await environment.write(lambda write: None)


async def test_a_read_is_a_snapshot(environment: Environment) -> None:
    database = environment.database("test")
    await environment.write(_put(database, b"key", b"old"))
    with environment.read() as read:
        environment.write_now(_put(database, b"key", b"new"))
        assert read.get(b"key", db=database) == b"old"
    assert _get(environment, database, b"key") == b"new"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_is_told_as_a_full_store(environment: Environment, number: int) -> None:
    def fail(write: Read) -> None:
        raise OSError(number, "as the system says it")

    with pytest.raises(StoreFull, match="as the system says it; free disk space") as told:
        await environment.write(fail)
    assert isinstance(told.value.__cause__, OSError)


async def test_an_input_output_error_is_no_full_disk(environment: Environment) -> None:
    def fail(write: Read) -> None:
        raise lmdb.Error("mdb_txn_commit: Input/output error")

    with pytest.raises(lmdb.Error, match="Input/output error"):
        await environment.write(fail)


async def test_a_full_index_is_told_as_a_full_store_and_smaller_changes_are_made(
    environment: Environment,
) -> None:
    database = environment.database("test")
    held = Held(environment)
    async with asyncio.TaskGroup() as tasks:
        large = tasks.create_task(_outcome(environment, _put(database, b"large", bytes(20 * MIB))))
        small = tasks.create_task(environment.write(_put(database, b"small", b"value")))
        await _after_all_have_come(held, 3)
    assert isinstance(large.result(), StoreFull)
    assert str(large.result()).endswith("free disk space or raise store.index_bytes")
    assert small.result() is True
    assert _get(environment, database, b"small") == b"value"


async def test_the_end_commits_what_waits(tmp_path: Path) -> None:
    with Environment(tmp_path, map_bytes=16 * MIB, durable=False) as environment:
        database = environment.database("test")
        for number in range(2 * GROUP_CHANGES):
            environment.write_soon(_put(database, b"%d" % number, b"value"))
    with Environment(tmp_path, map_bytes=16 * MIB, durable=False) as environment:
        database = environment.database("test")
        with environment.read() as read:
            assert read.stat(database)["entries"] == 2 * GROUP_CHANGES


async def test_after_the_end_a_change_is_refused(tmp_path: Path) -> None:
    with Environment(tmp_path, map_bytes=MIB, durable=False) as environment:
        pass
    with pytest.raises(RuntimeError, match="the index is closed"):
        await environment.write(lambda write: None)
    with pytest.raises(RuntimeError, match="the index is closed"):
        environment.write_soon(lambda write: None)
    with pytest.raises(RuntimeError, match="the index is closed"):
        environment.write_now(lambda write: None)
