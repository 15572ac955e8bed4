from __future__ import annotations

import pytest

from protos import remote_execution_pb2 as reapi
from scheduler.limits import Limits
from scheduler.operation import Operation, State
from scheduler.register import (
    MAX_PAGE_OPERATIONS,
    PAGE_OPERATIONS,
    InvalidPageToken,
    OperationNotFound,
    Register,
)
from tests.scheduler.asking import request

SIZE = reapi.ExecuteResponse(message="x" * 100).ByteSize()


def added(register: Register, number: int, *, instance: str = "") -> Operation:
    operation = Operation(
        f"name {number}",
        number,
        request(instance=instance),
        queued_at=0,
        on_watched=lambda watched: None,
    )
    register.add(operation)
    return operation


def finish(register: Register, number: int, *, now: float = 0) -> None:
    operation = added(register, number)
    response = reapi.ExecuteResponse(message="x" * 100)
    operation.publish(State(reapi.ExecutionStage.COMPLETED, response), now)
    register.finished(operation, now)


def kept(register: Register) -> list[int]:
    page = register.page(instance=None, page_size=1000, token="")
    return [operation.number for operation in page.operations]


def test_an_unknown_name_is_not_found() -> None:
    # REAPI rule: WaitExecution of an unknown operation is NOT_FOUND, so that clients execute anew.
    with pytest.raises(OperationNotFound, match="'nonsense' is not known") as raised:
        Register(Limits()).find("nonsense")
    assert raised.value.name == "nonsense"


def test_a_deleted_operation_is_not_found() -> None:
    register = Register(Limits())
    operation = added(register, 1)
    assert register.find("name 1") is operation
    register.delete("name 1")
    with pytest.raises(OperationNotFound):
        register.find("name 1")
    with pytest.raises(OperationNotFound):
        register.delete("name 1")


def test_a_deleted_operation_that_ends_is_not_kept() -> None:
    register = Register(Limits())
    operation = added(register, 1)
    register.delete("name 1")
    operation.publish(State(reapi.ExecutionStage.COMPLETED, reapi.ExecuteResponse()), 0)
    register.finished(operation, 0)
    assert kept(register) == []


def test_finished_operations_are_kept_for_a_while() -> None:
    register = Register(Limits(keep_finished_seconds=10))
    added(register, 1)
    finish(register, 2, now=0)
    finish(register, 3, now=5)
    register.expire(9)
    assert kept(register) == [1, 2, 3]
    register.expire(10)
    assert kept(register) == [1, 3]
    register.expire(1000)
    assert kept(register) == [1]


def test_finished_operations_are_kept_up_to_a_number() -> None:
    register = Register(Limits(max_finished=2))
    added(register, 1)
    for number in range(2, 6):
        finish(register, number)
    assert kept(register) == [1, 4, 5]


def test_finished_operations_are_kept_up_to_their_bytes() -> None:
    register = Register(Limits(max_finished_bytes=2 * SIZE))
    for number in range(4):
        finish(register, number)
    assert kept(register) == [2, 3]
    register.delete("name 2")
    finish(register, 4)
    assert kept(register) == [3, 4]


def test_the_newest_finished_operation_is_kept_whatever_its_size() -> None:
    register = Register(Limits(max_finished_bytes=1))
    for number in range(2):
        finish(register, number)
    assert kept(register) == [1]


@pytest.mark.parametrize("page_size", [1, 2, 3, 7])
def test_pages_list_each_operation_once_and_in_order(page_size: int) -> None:
    register = Register(Limits())
    for number in range(1, 8):
        added(register, number)
    numbers, token = [], ""
    while True:
        page = register.page(instance=None, page_size=page_size, token=token)
        assert len(page.operations) <= page_size
        numbers += [operation.number for operation in page.operations]
        token = page.next_token
        if not token:
            break
    assert numbers == list(range(1, 8))


def test_a_page_token_outlives_what_it_points_at() -> None:
    register = Register(Limits())
    for number in range(1, 5):
        added(register, number)
    page = register.page(instance=None, page_size=2, token="")
    register.delete("name 2")
    register.delete("name 3")
    added(register, 5)
    rest = register.page(instance=None, page_size=9, token=page.next_token)
    assert [operation.number for operation in rest.operations] == [4, 5]
    assert rest.next_token == ""


def test_pages_may_be_of_one_instance() -> None:
    register = Register(Limits())
    for number in range(1, 7):
        added(register, number, instance="even" if number % 2 == 0 else "")
    page = register.page(instance="even", page_size=2, token="")
    assert [operation.number for operation in page.operations] == [2, 4]
    rest = register.page(instance="even", page_size=2, token=page.next_token)
    assert [operation.number for operation in rest.operations] == [6]


def test_the_size_of_a_page_is_bounded() -> None:
    register = Register(Limits())
    for number in range(1, MAX_PAGE_OPERATIONS + 2):
        added(register, number)
    for asked, size in [(0, PAGE_OPERATIONS), (10**6, MAX_PAGE_OPERATIONS)]:
        assert len(register.page(instance=None, page_size=asked, token="").operations) == size


@pytest.mark.parametrize("token", ["x", "nonsense", "AAAA", "é", "AAAAAAAAAAAAAAAA", "=" * 99])
def test_a_token_that_no_page_gave_is_refused(token: str) -> None:
    with pytest.raises(InvalidPageToken, match="page_token"):
        Register(Limits()).page(instance=None, page_size=1, token=token)
