"""What becomes of a result whose writer is not trusted, as a decision without effects."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain
from typing import NamedTuple

from action_cache.mode import Mode
from action_cache.results import Kept, Proposal, Slot
from cas.digest import Digest, DigestFunction
from determinism.outcome import outcome_of
from determinism.policy import Decision, decide
from protos import remote_execution_pb2 as reapi

MOST = 16  # proposals of one action, all of which are read in each change of it


class Standing(StrEnum):
    """What became of a proposal when it came."""

    WAITING = "waiting"
    """Its writer alone is answered with it."""
    CONFLICTING = "conflicting"
    """As WAITING, and another writer has proposed something else."""
    PROMOTED = "promoted"
    """It was the last that it took: the first of those that are the same is everyone's now."""
    NEEDLESS = "needless"
    """Everyone has a result already, which stays."""


class Ruling(StrEnum):
    """What a proposal is to the result that became everyone's."""

    CONFIRMED = "confirmed"
    """Its outputs are the same, or differ only in what a canonical form takes out."""
    REFUTED = "refuted"
    """Its outputs differ: its writer is wrong, or the action is not deterministic."""
    UNDECIDED = "undecided"
    """They differ, and cannot be looked into: blobs are gone, or too large."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """What is kept from now on, what the writer is answered, and who is to be held against that.

    promoted: the proposal that became everyone's, with the decision about it. ruled: proposals that
    nobody is answered with any more, the new one among them where it is needless.
    """

    standing: Standing
    slot: Slot
    answer: Kept
    promoted: tuple[Proposal, Decision] | None = None
    ruled: tuple[Proposal, ...] = ()


def propose(
    slot: Slot, new: Proposal, *, confirmations: int, mode: Mode, function: DigestFunction
) -> Proposed:
    """Settle what `new`, a successful result, does to `slot`.

    confirmations: how many writers have to propose the same; 0 if any number is too few. function:
    that of the action. A result that everyone is answered with and a pin, lost or not, stay as
    they are; a pin whose blobs are all there is answered with again.
    Source: docs/decisions/0012-untrusted-writers.md.
    """
    others = tuple(each for each in slot.proposals if each.writer != new.writer)
    if not new.comparable:
        return Proposed(Standing.WAITING, _waiting(slot, others, new), new.kept)
    pinned = slot.pin.kept if slot.pin is not None and slot.intact else None
    shared = slot.entry or pinned
    if shared is not None:
        stays = replace(slot, entry=shared, proposals=())
        return Proposed(Standing.NEEDLESS, stays, shared, ruled=(*slot.proposals, new))
    said = _said(new.kept, function)
    same = [each for each in others if each.comparable and _said(each.kept, function) == said]
    if slot.pin is None and confirmations and len(same) + 1 >= confirmations:
        first = min((*same, new), key=lambda each: each.proposed)
        decision = decide(
            slot,
            first.kept,
            mode=mode,
            replace=False,
            function=function,
            now=new.proposed,
            origin=first.origin,
        )
        ruled = (*others, new)
        return Proposed(Standing.PROMOTED, decision.slot, decision.answer, (first, decision), ruled)
    alone = len(same) == len(others)
    standing = Standing.WAITING if alone else Standing.CONFLICTING
    return Proposed(standing, _waiting(slot, others, new), new.kept)


def conflicting(proposals: tuple[Proposal, ...], function: DigestFunction) -> bool:
    """Tell whether what is proposed for one action is not all the same."""
    return len({_said(each.kept, function) for each in proposals}) > 1


def _waiting(slot: Slot, others: tuple[Proposal, ...], new: Proposal) -> Slot:
    return replace(slot, proposals=(*others, new)[-MOST:])


class _Said(NamedTuple):
    """All that a result says but who made it, when and how: equal ones are the same to clients.

    outputs: the result without its metadata and streams, serialised.
    """

    outputs: bytes
    stdout: str
    stderr: str


def _said(kept: Kept, function: DigestFunction) -> _Said:
    result = kept.result
    streams = outcome_of(result, function).streams
    result.ClearField("execution_metadata")
    result.ClearField("stdout_raw")
    result.ClearField("stdout_digest")
    result.ClearField("stderr_raw")
    result.ClearField("stderr_digest")
    for file in result.output_files:
        file.ClearField("contents")
    for directory in result.output_directories:
        if directory.HasField("tree_digest"):
            directory.ClearField("root_directory_digest")
    result.output_files.sort(key=lambda output: output.path)
    result.output_directories.sort(key=lambda output: output.path)
    result.output_symlinks.sort(key=lambda output: output.path)
    result.output_file_symlinks.sort(key=lambda output: output.path)
    result.output_directory_symlinks.sort(key=lambda output: output.path)
    outputs = result.SerializeToString(deterministic=True)
    return _Said(outputs, streams["stdout"], streams["stderr"])


def ambiguity(result: reapi.ActionResult, function: DigestFunction) -> str:
    """Say what `result` says twice and not alike, so that readers could take either; "" if nothing.

    What is left of two results that are the same is the same to every client then.
    Source: remote_execution.proto, ActionResult: paths are unique, but links stand in a deprecated
    list too where old clients are to find them; what is inlined is what its digest names.
    """
    for name, raw, digest in (
        ("stdout", result.stdout_raw, result.stdout_digest),
        ("stderr", result.stderr_raw, result.stderr_digest),
    ):
        if raw and digest.hash and _differ(raw, digest, function):
            return f"{name}_raw is not what {name}_digest names"
    for file in result.output_files:
        if file.contents and _differ(file.contents, file.digest, function):
            return f"output_files: {file.path!r}: contents are not what digest names"
    paths = Counter(file.path for file in result.output_files)
    paths.update(directory.path for directory in result.output_directories)
    targets: dict[str, str] = {}
    for link in chain(
        result.output_symlinks, result.output_file_symlinks, result.output_directory_symlinks
    ):
        paths[link.path] += link.path not in targets
        if targets.setdefault(link.path, link.target) != link.target:
            return f"the output {link.path!r} links to {targets[link.path]!r} and {link.target!r}"
    twice = next((path for path, times in paths.items() if times > 1), None)
    return "" if twice is None else f"the output {twice!r} stands there twice"


def _differ(data: bytes, digest: reapi.Digest, function: DigestFunction) -> bool:
    found = Digest.of(data, function)
    return (found.hash, found.size) != (digest.hash, digest.size_bytes)
