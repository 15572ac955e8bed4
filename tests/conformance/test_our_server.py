"""The suite against `holdfast serve`: every rule is kept, but for policies that are documented."""

from __future__ import annotations

from pathlib import Path

from conformance.connection import Address, connected
from conformance.running import Ending, Outcome, run
from conformance.suite import CHECKS
from tests.serving import Served, serving

SETTINGS = """
execution.no_worker_seconds = 1
worker.slots = 8
"""
CHECK_SECONDS = 90  # other work on the machine must not end a check

POLICIES = {
    # docs/architecture.md, "Pinning: the policy": the pin stays, and the fresh result is answered.
    "execution.skipping_replaces_what_was_cached",
}
"""Rules that are no MUST and are broken on purpose."""


async def outcomes(served: Served) -> list[Outcome]:
    address = Address(
        f"grpc://{served.grpc}", platform={"OSFamily": "linux"}, pid=served.process.pid
    )
    async with connected(address) as target:
        return [outcome async for outcome in run(CHECKS, target, seconds=CHECK_SECONDS)]


async def test_every_rule_is_kept_but_for_documented_policies(tmp_path: Path) -> None:
    with serving(tmp_path, SETTINGS) as served:
        found = await outcomes(served)
    broken = {
        outcome.check.id: outcome.reason
        for outcome in found
        if outcome.ending in {Ending.FAILED, Ending.ERROR}
    }
    assert broken.keys() == POLICIES, broken
    assert len(found) == len(CHECKS)


def test_no_policy_is_about_a_must() -> None:
    known = {check.id: check.level for check in CHECKS}
    assert {known[id] for id in POLICIES} <= {"SHOULD", "ROBUSTNESS"}
