"""The same work space on two servers: which actions become others, and what is built again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from lab.tools import settings
from re_config.schema import Prevention
from scripts.demo_actions import Asked, asked, by_part
from scripts.demo_compilers import GENERATOR, PARTS, options, write_work_space
from scripts.demo_report import Broken, console, layers_table, passed, say
from tests.bazel.driver import Bazel, Build, running_bazel
from tests.bazel.options import execution
from tests.serving import Served, serving

INSIST = "--noremote_accept_cached"
EVERYTHING = "//..."
ONLY_PINNED = "stamped"
"""The part that two servers cannot agree on: nothing but a pin makes its generator repeat."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What was seen with the determinism layer on, or off.

    first, second: actions of the cold builds on two servers. again: a clean build on the first
    server, after its generator was made to run again; cold: what it is compared with.
    """

    title: str
    first: frozenset[Asked]
    second: frozenset[Asked]
    cold: Build
    again: Build

    @property
    def differing(self) -> frozenset[Asked]:
        """Actions of the second server that the first one does not know."""
        return self.second - self.first


def build_on_two_servers(folder: Path, rc: Path) -> None:
    """Build with the layer off and with it on; raise Broken if it does not do what it is for."""
    say(
        "Bazel builds what compilers make different each time, on two servers",
        "A generator that writes the time and a random number, C++ on top of it; a static library\n"
        "with times in it; objects of gcc -flto, nvcc and rustc, and what is linked of them.\n"
        "First with all that Holdfast does about it switched off, then as it is by default.",
    )
    write_work_space(folder / "sources")
    with running_bazel(folder / "sources", folder / "output_base", rc=rc) as bazel:
        bench = Bench(bazel, folder)
        off = bench.layer("off", settings() + switched_off())
        on = bench.layer("on", settings())
    console.print(
        layers_table(PARTS, by_part(on.first), by_part(off.differing), by_part(on.differing))
    )
    check(off, on)
    tell(off, on)


def switched_off() -> str:
    """Return settings of a server that does nothing about non-determinism, as dotted keys."""
    switches = [
        f"worker.prevent.{switch.name} = false"
        for switch in msgspec.structs.fields(Prevention)
        if isinstance(switch.default, bool)
    ]
    return "\n".join(
        ['default.determinism = "off"', 'default.canonicalise = "off"',
         "determinism.audit.sample = 0.0", *switches]
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bench:
    """One Bazel, for builds on several servers."""

    bazel: Bazel
    folder: Path

    @property
    def calls(self) -> Path:
        """Where Bazel logs the calls of a build."""
        base = self.bazel.output_base
        return base.with_name(f"{base.name}.calls")

    def layer(self, title: str, server: str) -> Layer:
        """Build on two new servers with these settings; on the first one, once more."""
        with serving(self.folder / f"{title}-1", server) as served:
            cold, first = self.clean_build(f"layer {title}, first server, cold", served)
            self.clean_build(f"layer {title}, the generator again", served, GENERATOR, INSIST)
            again, _ = self.clean_build(f"layer {title}, first server, again", served)
        with serving(self.folder / f"{title}-2", server) as served:
            _, second = self.clean_build(f"layer {title}, second server, cold", served)
        return Layer(title, first, second, cold, again)

    def clean_build(self, title: str, served: Served, *what: str) -> tuple[Build, frozenset[Asked]]:
        """Build from nothing; return what was done, and the actions that were asked for."""
        with console.status(f"{title} …"):
            self.bazel.clean()
            arguments = (*execution(served), *options(), *(what or (EVERYTHING,)))
            build = passed(self.bazel.build(*arguments))
        return build, asked(self.calls.read_bytes())


def check(off: Layer, on: Layer) -> None:
    """Raise Broken if the layer does not do what it is for."""
    without, remaining = by_part(off.differing), by_part(on.differing)
    if same := [part for part in PARTS if not without.get(part)]:
        raise Broken(f"with the layer off, {', '.join(same)} asked both servers for the same")
    if others := remaining.keys() - {ONLY_PINNED}:
        raise Broken(f"with the layer on, {', '.join(sorted(others))} asked for other actions")
    if not off.again.executed:
        raise Broken("with the layer off, nothing was built again", off.again.output)
    if on.again.executed:
        names = ", ".join(spawn.target for spawn in on.again.executed)
        raise Broken(f"with the layer on, actions were run again: {names}", on.again.output)
    if on.again.outputs() != on.cold.outputs():
        raise Broken("with the layer on, the second build got other files", on.again.output)


def tell(off: Layer, on: Layer) -> None:
    """Say in words what was seen."""
    actions = len(on.again.spawns)
    console.print(
        f"On two servers, [bold]{len(off.differing)}[/] of {len(off.second)} actions are others "
        f"with the layer off, [bold]{len(on.differing)}[/] with it on: those on top of the "
        "generator, which only a pin can make repeat.\n"
        "On one server, after its generator was made to run again, a clean build runs "
        f"[bold]{len(off.again.executed)}[/] of {actions} actions with the layer off, "
        f"[bold]none[/] with it on: {on.again.remote_hits} hits, byte for byte what was built "
        "first."
    )
