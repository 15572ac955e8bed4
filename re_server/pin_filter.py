"""Which pins are meant."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import translate
from itertools import chain

from action_cache.results import ActionKey, Pin
from cas.digest import Digest, DigestFunction
from cas.wire import digest_from
from protos import admin_pb2 as admin, remote_execution_pb2 as reapi
from re_server.instances import Instances
from re_server.pin_message import seconds_of

Takes = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Selection:
    """What a PinFilter lets pass. instance: None for all. named: empty for all.

    since, until: seconds since 1970.
    """

    instance: str | None
    named: frozenset[Digest]
    since: float
    until: float
    conflicting: bool
    worker: Takes | None
    origin: tuple[tuple[str, Takes], ...]

    @property
    def narrow(self) -> bool:
        """Whether it says more than an instance."""
        timed = self.since > 0 or self.until < float("inf")
        return bool(self.named or timed or self.conflicting or self.worker or self.origin)

    def takes(self, key: ActionKey, pin: Pin) -> bool:
        return (
            (self.instance is None or key.instance == self.instance)
            and (not self.named or key.action in self.named)
            and self.since <= pin.first_seen < self.until
            and (pin.conflicts > 0 or not self.conflicting)
            and all(takes(getattr(pin.origin, field)) for field, takes in self.origin)
            and (self.worker is None or bool(self.worker(_worker(pin))))
        )


def selection_of(filter: admin.PinFilter, instances: Instances) -> Selection:
    """Check a filter; raise NotServed where its instance is not served, InvalidDigest, Refused."""
    instance = filter.instance_name if filter.HasField("instance_name") else None
    if instance is not None:
        instances.find(instance)
    fields = ("target", "program", "mnemonic", "toolchain", "invocation")
    return Selection(
        instance,
        frozenset(chain.from_iterable(map(readings, filter.action_digests))),
        seconds_of(filter.since, "filter.since") if filter.HasField("since") else 0,
        seconds_of(filter.until, "filter.until") if filter.HasField("until") else float("inf"),
        filter.conflicting,
        glob(filter.worker) if filter.worker else None,
        tuple((name, glob(pattern)) for name in fields if (pattern := getattr(filter, name))),
    )


def readings(message: reapi.Digest) -> Iterator[Digest]:
    """Yield the digests that may be meant: a hash does not say its function."""
    functions = [
        function for function in DigestFunction if function.hex_length == len(message.hash)
    ]
    for function in functions or [DigestFunction.SHA256]:
        yield digest_from(message, function)


def _worker(pin: Pin) -> str:
    return pin.kept.result.execution_metadata.worker


def glob(pattern: str) -> Takes:
    """Return what tells whether a whole text matches `pattern`."""
    return re.compile(translate(pattern)).match
