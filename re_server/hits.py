"""Answers to GetActionResult that were given a moment ago and would be the same now."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from action_cache.results import ActionKey
from cas.digest import Digest

MAX_BYTES = 64 << 20  # of requests and answers that are remembered

Moment = tuple[int, int]
"""How many blobs had gone, and how many entries had changed."""


class Hit(NamedTuple):
    """files: blobs that are looked at again before the answer is given again."""

    key: ActionKey
    answer: bytes
    files: tuple[Digest, ...]


class Hits:
    """Requests, as they came over the wire, and their answers.

    seconds: how long an answer is remembered: what leases are longer than was promised.
    """

    def __init__(self, *, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until = 0.0
        self._seen = -1
        self._hits: dict[bytes, Hit] = {}
        self._requests: dict[ActionKey, set[bytes]] = {}
        self._bytes = 0
        self._dropped = 0
        self._changed = 0

    @property
    def moment(self) -> Moment:
        """What `add` is to be given with an answer that is worked out from now on."""
        return self._dropped, self._changed

    def forget_all(self, _digest: Digest | None = None) -> None:
        """Begin anew: a blob has gone. May be called from any thread."""
        self._dropped += 1

    def forget(self, key: ActionKey) -> None:
        """Drop the answers for `key`, whose entry has changed."""
        self._changed += 1
        for request in self._requests.pop(key, ()):
            self._hits.pop(request, None)

    def get(self, request: bytes) -> Hit | None:
        if self._seen != self._dropped or self._clock() > self._until:
            self._begin()
        return self._hits.get(request)

    def add(self, request: bytes, hit: Hit, moment: Moment) -> None:
        """Remember `hit`, unless a blob has gone or an entry has changed since `moment`."""
        if moment != self.moment:
            return
        if self._bytes > MAX_BYTES:
            self._begin()
        self._hits[request] = hit
        self._requests.setdefault(hit.key, set()).add(request)
        self._bytes += len(request) + len(hit.answer)

    def _begin(self) -> None:
        self._seen = self._dropped
        self._until = self._clock() + self._seconds
        self._hits, self._requests, self._bytes = {}, {}, 0
