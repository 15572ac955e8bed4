"""Instance names: which are served, and how."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cas.digest import Digest, DigestFunction, InvalidDigest
from cas.wire import RESERVED_SEGMENTS, digest_from, function_from
from protos import remote_execution_pb2 as reapi
from re_client.status import NotServed, Refused
from re_config.determinism_tables import Instance


@dataclass(frozen=True, slots=True)
class Instances:
    """The instances that a server serves: those named, or every one as `default` says."""

    named: Mapping[str, Instance]
    default: Instance

    def find(self, name: str) -> Instance:
        """Return how instance `name` is served; raise Refused or NotServed."""
        if name in self.named:
            return self.named[name]
        if forbidden := RESERVED_SEGMENTS.intersection(name.split("/")):
            raise Refused(f"instance_name {name!r}: {min(forbidden)!r} may not be a part of it")
        if self.named:
            served = ", ".join(repr(known) for known in sorted(self.named))
            raise NotServed(f"instance_name {name!r} is not served here; there are {served}")
        return self.default

    def function(self, name: str, number: int, hash: str) -> DigestFunction:
        """Settle a request's digest function; `hash` is one of its hashes, or empty."""
        return function_from(number, hash, self.find(name).digest_function)

    def digest(self, name: str, number: int, message: reapi.Digest, *, field: str) -> Digest:
        """Check a digest of a request; raise InvalidDigest that names its `field`."""
        function = self.function(name, number, message.hash)
        try:
            return digest_from(message, function)
        except InvalidDigest as error:
            raise InvalidDigest(f"{field}: {error}") from None

    def digests(
        self,
        name: str,
        number: int,
        messages: Iterable[reapi.Digest],
        *,
        field: str,
        first: int = 0,
    ) -> list[Digest]:
        """Check digests of one function; raise InvalidDigest that names `field` and its index.

        first: the index of the first of `messages`.
        """
        checked: list[Digest] = []
        function: DigestFunction | None = None
        for at, message in enumerate(messages, first):
            function = function or self.function(name, number, message.hash)
            try:
                checked.append(digest_from(message, function))
            except InvalidDigest as error:
                raise InvalidDigest(f"{field}[{at}]: {error}") from None
        return checked
