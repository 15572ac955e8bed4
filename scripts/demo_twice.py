"""A real C++ project, built from two clean work spaces: the second build has nothing to run."""

from __future__ import annotations

from pathlib import Path

from scripts.demo_report import Broken, builds_table, console, passed, say
from tests.bazel.driver import Build, running_bazel
from tests.bazel.options import execution
from tests.bazel.real_project import ABSEIL, unpack
from tests.serving import Served

COLD = "first, cold"
WARM = "second, warm"


def build_twice(served: Served, folder: Path, rc: Path) -> None:
    """Build, and check that the second build ran nothing.

    Raises Broken if it did, or if it got other files than the first.
    """
    say(
        f"Bazel builds {ABSEIL.title}, twice",
        f"bazel build --remote_executor=grpc://{served.grpc} {' '.join(ABSEIL.targets)}\n"
        "From two clean work spaces, each with an output base of its own: what two developers\n"
        "have, or a build machine and a developer. Some of the seconds are Bazel's own, which\n"
        "starts and reads the project each time.",
    )
    cold = built(served, folder / "first", rc, COLD)
    warm = built(served, folder / "second", rc, WARM)
    console.print(builds_table({COLD: cold, WARM: warm}))
    if cold.remote_hits or not cold.executed_remotely:
        raise Broken("the first build did not run its actions on Holdfast", cold.output)
    if warm.executed:
        names = ", ".join(spawn.target for spawn in warm.executed)
        raise Broken(f"the second build ran actions: {names}", warm.output)
    if warm.outputs() != cold.outputs():
        raise Broken("the second build got other files than the first", warm.output)
    console.print(
        f"The second build ran [bold]none[/] of its {len(warm.spawns)} actions, and each of "
        f"its {len(warm.outputs())} files is, byte for byte, that of the first."
    )


def built(served: Served, folder: Path, rc: Path, title: str) -> Build:
    """Build in the new folder `folder`; raise Broken if Bazel cannot."""
    with console.status(f"{title} …"):
        unpack(ABSEIL, folder / "sources")
        with running_bazel(folder / "sources", folder / "output_base", rc=rc) as bazel:
            return passed(bazel.build(*ABSEIL.targets, *execution(served)))
