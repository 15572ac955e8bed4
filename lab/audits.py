"""Auditing a case on the server, and whether the cause that it names is the right one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from cas.digest import Digest
from determinism.difference import Cause
from lab.cases import CALM, Expected
from lab.server import Bench, NotRun
from protos import admin_pb2 as admin
from re_client.nondeterminism import Nondeterminism
from re_client.status import NotServed

OF_KIND: dict[str, set[Cause]] = {
    "path": {Cause.PATH},
    "timestamp": {Cause.TIME, Cause.MTIME},
    "tempname": {Cause.RANDOM, Cause.PID},
    "pid": {Cause.PID},
    "random": {Cause.RANDOM},
    "hashseed": {Cause.HASH_SEED},
    "aslr": {Cause.ADDRESSES},
    "order": {Cause.ORDER},
    "race": {Cause.RACE},
    "env": {Cause.HOST, Cause.ENVIRONMENT},
    "metadata": {Cause.HOST, Cause.ENVIRONMENT, Cause.MTIME},
}
"""What may be found to be the cause of a case of some kind."""

NAMED: dict[str, set[Cause]] = {
    "path": {Cause.PATH},
    "time": {Cause.TIME},
    "mtime": {Cause.MTIME, Cause.TIME},
    "pid": {Cause.PID},
    "random": {Cause.RANDOM},
    "race": {Cause.RACE},
    "hash": {Cause.HASH_SEED},
    "aslr": {Cause.ADDRESSES},
    "order": {Cause.ORDER},
    "host": {Cause.HOST},
    "env": {Cause.ENVIRONMENT},
}
"""The same by the words with which expect.json names what was measured."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found. recorded: causes that the server has on record afterwards."""

    differs: bool
    causes: tuple[str, ...]
    recorded: tuple[str, ...]
    runs: int

    def right(self, expected: Expected) -> bool:
        """Tell whether it names nothing but causes that the case has; of a calm case, none."""
        if expected.kind in CALM:
            return not self.differs
        return bool(self.causes) and set(self.causes) <= accepted(expected)


def accepted(expected: Expected) -> set[Cause]:
    """Return the causes that may be named for a case."""
    found = set(OF_KIND.get(expected.kind, set()))
    for said in expected.measured.caused_by:
        words = re.findall(r"[a-z]+", said.partition("(")[0])
        found |= {cause for word in words for cause in NAMED.get(word, ())}
    return found


async def audited(bench: Bench, action: Digest) -> Audit:
    """Audit `action`, and ask what is on record of it; raise NotRun if the server cannot."""
    server = Nondeterminism(bench.session.connection, bench.instance)
    last = admin.AuditProgress()
    async for progress in server.audit(action=action, invocation="", target="", runs=0):
        last = progress
    if last.audited.error or not last.HasField("audited"):
        raise NotRun(f"audit: {last.audited.error or 'it ended without a finding'}")
    try:
        known = list((await server.explain(action)).differences)
    except NotServed:
        known = []
    return Audit(
        last.audited.differs, causes(last.audited.differences), causes(known), last.audited.runs
    )


def causes(differences: Iterable[admin.Difference]) -> tuple[str, ...]:
    """Return what causes `differences`, each once."""
    return tuple(sorted({difference.cause for difference in differences}))
