"""One result of an action, as it came about: what the ledger keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from action_cache.mode import Mode
from action_cache.results import ActionKey
from cas.digest import Digest
from determinism.outcome import Outcome
from determinism.policy import Verdict
from determinism.proposals import Ruling


class Source(StrEnum):
    """Where a result comes from."""

    SERVICE = "service"
    """A client asked for it to be run."""
    UPLOAD = "upload"
    """A client ran it itself."""
    ARBITER = "arbiter"
    """It was run once more after a conflict."""
    AUDIT = "audit"
    """It was run under other conditions."""
    PROPOSAL = "proposal"
    """It was run to settle what was proposed for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One run of an action, or one result of it that was uploaded.

    at: when it was settled, in seconds since 1970. verdict: None where it was held to no pin; of a
    result that was only proposed, what it was to the one that became everyone's.
    switches: of the sandbox that were on, sorted. rules: those of the canonical form. tool: the
    client's name and version. seconds: how long the action ran, 0 where it is not known.
    before: by output, its digest before it was brought into canonical form, where that changed it;
    formats: by the same outputs, the formats concerned, the outermost first; replaced: by the same
    outputs, bytes that were replaced. root: path at which the action saw its input root.
    begun, ended: when it ran, in seconds since 1970, 0 where it is not known. mode: what was done
    with a result that differs. references: all blobs that the result refers to; those in output
    directories are known from here alone.
    Texts are "" where nothing is known.
    """

    key: ActionKey
    at: float
    source: Source
    verdict: Verdict | Ruling | None
    worker: str
    toolchain: str
    switches: tuple[str, ...]
    rules: str
    program: str
    version: str
    mnemonic: str
    target: str
    invocation: str
    tool: str
    input_root: Digest | None
    seconds: float
    exit_code: int
    outcome: Outcome
    before: Mapping[str, str]
    formats: Mapping[str, tuple[str, ...]]
    root: str
    begun: float
    ended: float
    mode: Mode = Mode.PIN
    references: frozenset[Digest] = frozenset()
    replaced: Mapping[str, int] = field(default_factory=dict)
