"""An action that is never alike: its first result is pinned, and a later one is compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.demo_report import Broken, Throw, console, passed, say, throws_table
from tests.bazel.driver import Bazel, running_bazel
from tests.bazel.options import execution
from tests.bazel.scrape import scrape
from tests.serving import Served

COMMAND = "date --iso-8601=ns > $@; od -N8 -An -tx1 /dev/urandom >> $@"
INSIST = "--noremote_accept_cached"
CONFLICTS = 'holdfast_results_total{verdict="conflict"}'


def throw_dice(served: Served, folder: Path, rc: Path) -> None:
    """Build it from two clean work spaces, then insist on running it again.

    Raises Broken if Bazel gets other bytes without insisting, or if the difference is not counted.
    """
    say(
        "Bazel builds something that is never the same",
        f"genrule: {COMMAND}\n"
        "Elsewhere, who runs such an action again gets other bytes, and all that depends on it is\n"
        "built again. Holdfast pins the first result, and compares each later one with it.",
    )
    before = conflicts(served)
    with work_space(folder / "first", rc) as first, work_space(folder / "second", rc) as second:
        throws = [
            thrown(served, first, "first work space"),
            thrown(served, second, "second clean work space"),
            thrown(served, second, f"the same, {INSIST}", INSIST),
            thrown(served, first, "first work space, cleaned"),
        ]
    counted = conflicts(served) - before
    console.print(throws_table(throws))
    pinned, other, again, last = throws
    if not pinned.digest == other.digest == last.digest:
        raise Broken("the result of the action changed", last.build.output)
    if again.digest == pinned.digest or not again.build.executed:
        raise Broken("Bazel insisted, and the action was not run again", again.build.output)
    if counted != 1:
        raise Broken(f"{CONFLICTS} went up by {counted:g}: 1 result differed from the pinned one")
    console.print(
        "When Bazel insisted, it got the fresh result, as the protocol demands. The pin stayed, "
        f"and the difference was counted: {CONFLICTS} +{counted:g}."
    )


@contextmanager
def work_space(folder: Path, rc: Path) -> Iterator[Bazel]:
    """Offer Bazel in a new work space that holds nothing but the action."""
    sources = folder / "sources"
    sources.mkdir(parents=True)
    (sources / "WORKSPACE").write_text('workspace(name = "dice")\n')
    (sources / "BUILD").write_text(
        f'genrule(name = "dice", outs = ["dice.txt"], cmd = "{COMMAND}")\n'
    )
    with running_bazel(sources, folder / "output_base", rc=rc) as bazel:
        yield bazel


def thrown(served: Served, bazel: Bazel, title: str, *options: str) -> Throw:
    """Build it from nothing; raise Broken if Bazel cannot."""
    with console.status(f"{title} …"):
        bazel.clean()
        build = passed(bazel.build("//:dice", *execution(served), *options))
    (digest,) = build.outputs().values()
    return Throw(title, build, digest)


def conflicts(served: Served) -> float:
    """Return how many results the server has seen that differed from the pinned one."""
    return scrape(served.web).total("holdfast_results_total", verdict="conflict")
