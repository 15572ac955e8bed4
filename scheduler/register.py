"""Operations by name: those under way, and the finished ones for a while."""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice

from scheduler.limits import Limits
from scheduler.operation import Operation

PAGE_OPERATIONS = 100  # on a page whose size is not given
MAX_PAGE_OPERATIONS = 1000
_TOKEN_BYTES = 8


class OperationNotFound(LookupError):
    """No operation has this name, or it ended too long ago."""

    def __init__(self, name: str) -> None:
        super().__init__(f"operation {name[:80]!r} is not known here, or no longer")
        self.name = name


class InvalidPageToken(ValueError):
    """Not a token that a page came with."""

    def __init__(self, token: str) -> None:
        super().__init__(f"page_token {token[:80]!r}: must be the next_page_token of a page")
        self.token = token


@dataclass(frozen=True, slots=True)
class Page:
    """Some operations, the oldest first. next_token: asks for what follows; "" at the end."""

    operations: tuple[Operation, ...]
    next_token: str


class Register:
    """Operations by name; the finished ones are bounded by age, number and bytes."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._operations: dict[str, Operation] = {}
        self._finished: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._finished_bytes = 0

    def add(self, operation: Operation) -> None:
        self._operations[operation.name] = operation

    def find(self, name: str) -> Operation:
        """Return the operation; raise OperationNotFound."""
        try:
            return self._operations[name]
        except KeyError:
            raise OperationNotFound(name) from None

    def delete(self, name: str) -> None:
        """Forget the operation; raise OperationNotFound."""
        self.find(name)
        self._forget(name)

    def discard(self, name: str) -> None:
        """Forget the operation if it is known."""
        if name in self._operations:
            self._forget(name)

    def finished(self, operation: Operation, now: float) -> None:
        """Keep a finished operation for a while, if it was not deleted before.

        now: clock seconds.
        """
        if self._operations.get(operation.name) is not operation:
            return
        size = operation.response.ByteSize() if operation.response else 0
        self._finished[operation.name] = (now, size)
        self._finished_bytes += size
        while len(self._finished) > 1 and (
            len(self._finished) > self._limits.max_finished
            or self._finished_bytes > self._limits.max_finished_bytes
        ):
            self._forget(next(iter(self._finished)))

    def expire(self, now: float) -> None:
        """Forget what finished too long ago."""
        while self._finished:
            name, (finished_at, _) = next(iter(self._finished.items()))
            if finished_at > now - self._limits.keep_finished_seconds:
                return
            self._forget(name)

    def page(self, *, instance: str | None, page_size: int, token: str) -> Page:
        """Return operations that came after those of the page that gave `token`.

        instance: of this instance name only; None: of all.
        page_size: at most as many; 0 or less: PAGE_OPERATIONS.
        token: "" for the first page. Raises InvalidPageToken.
        """
        after = _number(token) if token else 0
        size = min(page_size, MAX_PAGE_OPERATIONS) if page_size > 0 else PAGE_OPERATIONS
        matching = (
            operation
            for operation in self._operations.values()
            if operation.number > after and instance in {None, operation.request.instance}
        )
        found = tuple(islice(matching, size + 1))
        if len(found) <= size:
            return Page(found, "")
        return Page(found[:size], _token(found[size - 1].number))

    def _forget(self, name: str) -> None:
        del self._operations[name]
        _, size = self._finished.pop(name, (0, 0))
        self._finished_bytes -= size


def _token(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(_TOKEN_BYTES, "big")).decode()


def _number(token: str) -> int:
    try:
        data = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeError):
        raise InvalidPageToken(token) from None
    if len(data) != _TOKEN_BYTES:
        raise InvalidPageToken(token)
    return int.from_bytes(data, "big")
