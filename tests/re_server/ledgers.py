"""A ledger that has seen one action differ, with another that depends on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from action_cache.results import ActionKey
from cas.digest import Digest
from determinism.difference import Attributed, Cause
from determinism.ledger.retention import LedgerLimits
from determinism.ledger.store import Ledger, opened
from determinism.observation import Observation, Source
from determinism.outcome import Outcome
from determinism.policy import Verdict

NOW = 1_800_000_000.0
LIMITS = LedgerLimits(max_seconds=1e9, max_bytes=1 << 30)
CONSUMER_SECONDS = 7.5
STREAMS = {"stdout": "", "stderr": "", "exit code": "0"}


def key(name: str, *, instance: str = "main") -> ActionKey:
    return ActionKey(instance, Digest.of(name.encode()))


def seen(
    action: ActionKey,
    data: bytes,
    verdict: Verdict | None,
    *,
    at: float = NOW,
    source: Source = Source.SERVICE,
    program: str = "gcc",
    stdout: str = "",
    seconds: float = 1.5,
) -> Observation:
    """Make an observation of a run whose one output holds `data`."""
    return Observation(
        key=action,
        at=at,
        source=source,
        verdict=verdict,
        worker="builder-1",
        toolchain="tools",
        switches=("pid", "uts"),
        rules="1",
        program=program,
        version="12.2",
        mnemonic="CppCompile",
        target="//lib:" + program,
        invocation="build-1",
        tool="bazel 7.0.0",
        input_root=None,
        seconds=seconds,
        exit_code=0,
        outcome=Outcome({"out.o": str(Digest.of(data))}, STREAMS | {"stdout": stdout}),
        before={},
        formats={},
        root="/b/12345678",
        begun=at - 2,
        ended=at,
        references=frozenset({Digest.of(data)}),
    )


def difference(where: str = "out.o", cause: Cause = Cause.TIME) -> Attributed:
    return Attributed(
        where=where,
        first=str(Digest.of(b"first")),
        then=str(Digest.of(b"then")),
        format="elf",
        part=".rodata",
        ranges=((64, 72), (100, 101)),
        first_text="12:00:01",
        then_text="12:00:03",
        cause=cause,
        evidence="both are times of the runs",
    )


def conflict(ledger: Ledger, action: ActionKey, *, program: str = "gcc", at: float = NOW) -> None:
    """Have the action give a first result, then another, which is attributed."""
    ledger.record(seen(action, b"first", Verdict.FIRST, program=program, at=at - 100))
    number = ledger.record(seen(action, b"then", Verdict.CONFLICT, program=program, at=at))
    ledger.attributed(number, [difference()], latent=False)


@contextmanager
def told(folder: Path) -> Iterator[Ledger]:
    """Open a ledger that was told of three actions.

    `flaky` gave two results; `consumer` consumed the first, and was answered from the cache
    afterwards; `audited` was found to differ in stdout, by an audit.
    """
    with opened(folder / "ledger.sqlite", LIMITS, clock=lambda: NOW + 50) as ledger:
        flaky, consumer, audited = key("flaky"), key("consumer"), key("audited")
        ledger.record(seen(flaky, b"first", Verdict.FIRST, at=NOW - 100))
        ledger.record(
            seen(
                consumer, b"program", Verdict.FIRST, at=NOW - 50, program="ld",
                seconds=CONSUMER_SECONDS,
            )
        )  # fmt: skip
        ledger.consumed(consumer, [Digest.of(b"first")])
        number = ledger.record(seen(flaky, b"then", Verdict.CONFLICT))
        ledger.attributed(number, [difference()], latent=False)
        ledger.flush()
        ledger.hit(consumer)
        ledger.record(seen(audited, b"same", Verdict.FIRST, program="[", at=NOW - 40))
        number = ledger.record(
            seen(audited, b"same", None, program="[", source=Source.AUDIT, stdout="other")
        )
        ledger.attributed(number, [difference("stdout", Cause.RANDOM)], latent=True)
        ledger.audited(audited, differs=True, runs=12, at=NOW)
        ledger.flush()
        yield ledger
