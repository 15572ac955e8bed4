"""A dispatcher that runs, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from protos import remote_execution_pb2 as reapi
from scheduler.attached import Ran
from scheduler.dispatch import Dispatcher, Settle
from scheduler.limits import Limits
from scheduler.request import Request
from tests.scheduler.asking import Clock


async def as_it_is(
    asked: Request, response: reapi.ExecuteResponse, ran: Ran
) -> reapi.ExecuteResponse:
    return response


@asynccontextmanager
async def dispatching(
    settle: Settle = as_it_is,
    *,
    limits: Limits | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Dispatcher]:
    now = clock or Clock()
    dispatcher = Dispatcher(settle=settle, limits=limits or Limits(), clock=now, wall=now)
    async with dispatcher.running():
        yield dispatcher
