"""What is fuzzed: a parser, and what must hold whatever bytes it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from google.rpc.code_pb2 import Code

from re_client.status import to_status

CORPUS = Path(__file__).parent / "corpus"

Result = TypeVar("Result")
Check = Callable[[bytes], Coroutine[object, object, None] | None]


@dataclass(frozen=True, slots=True)
class Target:
    """One parser that bytes from the network reach.

    check: parses, and asserts what holds of what was parsed. It raises what the parser does: that
    is a fault unless clients are told of it as theirs. seeds: makes inputs to start from, of real
    messages. max_bytes: of an input.
    """

    check: Check
    seeds: Callable[[], Iterable[bytes]]
    max_bytes: int = 2048


def is_fault(error: Exception) -> bool:
    """Tell whether a client would be told of `error` as a fault of the server."""
    return bool(to_status(error).code == Code.INTERNAL)


@contextmanager
def attempts(target: Target) -> Iterator[Callable[[bytes], None]]:
    """Yield what gives one input to `target`, and raises if that shows a fault.

    All share one event loop: to make one takes longer than most parsers do.
    """
    with asyncio.Runner() as runner:
        loop = runner.get_loop()

        def attempt(data: bytes) -> None:
            try:
                checking = target.check(data)
                if checking is not None:
                    loop.run_until_complete(checking)
            except Exception as error:
                if is_fault(error):
                    raise

        yield attempt


async def answered(call: Awaitable[Result]) -> Result | None:
    """Return what `call` returns, None where the client is told of an error."""
    try:
        return await call
    except Exception as error:
        if is_fault(error):
            raise
        return None
