"""What the ledger answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from action_cache.results import ActionKey
from determinism.difference import Attributed


class Grouping(StrEnum):
    """What differing results are put together by."""

    ACTION = "action"
    PROGRAM = "program"
    TARGET = "target"
    CAUSE = "cause"
    MNEMONIC = "mnemonic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What is known of one action, program, target, cause or mnemonic that differs.

    name: what it is grouped by; of an action, its digest. key, program, target, mnemonic: of the
    action of the group that saved most. causes: sorted; none where none was found yet.
    actions: that differ. conflicts, latent: results that differed in service, and in audits.
    saved_actions, saved_seconds: later hits that pinning made possible, and the time of running
    them. streams_only: nothing but stdout and stderr ever differed.
    """

    name: str
    key: ActionKey
    program: str
    target: str
    mnemonic: str
    causes: tuple[str, ...]
    actions: int
    conflicts: int
    latent: int
    saved_actions: int
    saved_seconds: float
    streams_only: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """Over all that is kept of an instance and a time. audited: actions."""

    observations: int
    actions: int
    conflicts: int
    latent: int
    audited: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One observation; see determinism.observation. verdict: "" where there is none."""

    number: int
    at: float
    source: str
    verdict: str
    worker: str
    toolchain: str
    rules: str
    switches: tuple[str, ...]
    program: str
    version: str
    target: str
    mnemonic: str
    invocation: str
    tool: str
    root: str
    seconds: float
    exit_code: int


@dataclass(frozen=True, slots=True)
class Differing:
    """One difference. number: of its observation. latent: found by an audit, not in service."""

    number: int
    latent: bool
    attributed: Attributed


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """An action that consumed outputs of another.

    distance: 1 where it took one itself, one more for each action between. seconds: how long it
    runs. saved: hits that pinning made possible.
    """

    key: ActionKey
    target: str
    mnemonic: str
    distance: int
    seconds: float
    saved: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """All that is known of one action. observations, differences: the latest first.

    consumers: those that saved most first, then the nearest; of what differed, or of every output
    where nothing did. audits: how many ended, and audit_runs: with how many runs.
    """

    summary: Group
    observations: Sequence[Observed]
    differences: Sequence[Differing]
    consumers: Sequence[Consumer]
    audits: int
    audit_runs: int
