"""Results of one action that differ, or do not."""

from __future__ import annotations

from action_cache.results import ActionKey, Kept, Pin, Slot
from cas.digest import Digest, DigestFunction
from protos import remote_execution_pb2 as reapi

KEY = ActionKey("main", Digest.of(b"an action"))
FIRST_SEEN = 1_800_000_000.0


def output_of(data: bytes) -> Digest:
    return Digest.of(data)


def kept(data: bytes, *, worker: str = "w", stdout: bytes = b"", inline: bool = False) -> Kept:
    """Return a result whose one output holds `data`; `worker` says which run it was."""
    result = reapi.ActionResult()
    output = output_of(data)
    result.output_files.add(path="out").digest.hash = output.hash
    result.output_files[0].digest.size_bytes = output.size
    result.execution_metadata.worker = worker
    references = {output}
    if stdout and inline:
        result.stdout_raw = stdout
    elif stdout:
        digest = Digest.of(stdout)
        result.stdout_digest.hash, result.stdout_digest.size_bytes = digest.hash, digest.size
        references.add(digest)
    return Kept(result.SerializeToString(deterministic=True), frozenset(references))


def pinned(pin: Kept, *, intact: bool = True) -> Slot:
    """Return what is known of an action whose first result was `pin`."""
    entry = pin if intact else None
    return Slot(entry, Pin(pin, first_seen=FIRST_SEEN, last_seen=FIRST_SEEN), intact=intact)


EMPTY = Slot(None, None, intact=False)
FUNCTION = DigestFunction.SHA256
