"""A warm Bazel build, through each server as its remote cache."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks import peers, servers
from benchmarks.servers import Running
from benchmarks.table import Table
from tests.bazel.driver import Bazel, Build, running_bazel
from tests.bazel.stubs import write_stubs
from tests.bazel.workspace import write_workspace

TARGETS = "//..."


def run(folder: Path, *, rounds: int = 3) -> list[Table]:
    """Measure. folder: for everything; it can be removed after."""
    table = Table(
        "A warm Bazel build, in seconds",
        "Bazel 4.2.3, the generated C++ work space, remote cache alone: `bazel clean`, then a "
        "build in which every action is a hit (in the first row, one without any cache). Rounds "
        "take turns; medians.",
        ["seconds", "actions", "of them hits", "Holdfast's seconds / this"],
    )
    write_workspace(folder / "workspace", salt=uuid.uuid4().hex)
    rc = write_stubs(folder / "stubs")
    with ExitStack() as stack:
        bazel = stack.enter_context(running_bazel(folder / "workspace", folder / "base", rc=rc))
        caches = {
            server.name: server
            for server in (
                stack.enter_context(servers.holdfast(folder / "holdfast")),
                stack.enter_context(peers.buildgrid(folder / "buildgrid")),
                stack.enter_context(peers.casd(folder / "casd")),
                stack.enter_context(peers.bazel_remote(folder / "bazel-remote")),
            )
        }
        for name, builds in _measured(bazel, caches, rounds).items():
            table.rows[name] = _figures(builds)
    ours = table.rows["Holdfast"][0]
    for name, cells in table.rows.items():
        if isinstance(ours, float) and isinstance(cells[0], float):
            table.rows[name] = [*cells[:3], ours / cells[0]]
    return [table]


def _measured(bazel: Bazel, caches: dict[str, Running], rounds: int) -> dict[str, list[Build]]:
    """Build once to fill each cache, then `rounds` times in turn; return the latter builds."""
    options: dict[str, list[str]] = {"no cache": []}
    options |= {name: [f"--remote_cache=grpc://{s.address}"] for name, s in caches.items()}
    builds: dict[str, list[Build]] = {name: [] for name in options}
    for number in range(rounds + 1):
        for name, chosen in options.items():
            bazel.clean()
            build = bazel.build(*chosen, TARGETS)
            if number:
                builds[name].append(build)
    return builds


def _figures(builds: list[Build]) -> list[float | str | None]:
    """Return a row; of a server that Bazel does not work with, what Bazel says of it."""
    last = builds[-1]
    if last.status:
        said = [line for line in last.output.splitlines() if line.startswith("ERROR")]
        return [said[0] if said else f"Bazel ended with {last.status}", None, None, None]
    return [median(build.seconds for build in builds), len(last.spawns), last.remote_hits, None]
