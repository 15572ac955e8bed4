"""A sandbox without the executor around it: real tools run under chosen switches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cas.memory import MemoryStore
from cas.tree import TreeLimits, load_inputs
from protos import worker_pb2
from re_config import schema
from re_config.bounds import tree_limits
from tests.worker.trees import Inputs, put_tree
from worker import seeded
from worker.bubblewrap import Bubblewrap
from worker.files import FileCache
from worker.folders import Folders
from worker.materialise import Materialiser, files_of
from worker.process import adopt_orphans
from worker.sandbox import Run, Sandbox
from worker.sandboxes import sandbox_of, site
from worker.stdio import Capture

LIMITS: TreeLimits = tree_limits(schema.Limits())
STDIO_BYTES = 1 << 20
SECONDS = 120


@dataclass(frozen=True)
class Done:
    """How a run ended. files: outputs by name, those in folders included; root: what was seen."""

    exit_code: int
    stdout: str
    stderr: str
    files: dict[str, bytes]
    root: str


@dataclass
class Cell:
    """A sandbox, and the folders that runs get."""

    config: schema.Worker
    sandbox: Sandbox
    folders: Folders
    files: FileCache
    store: MemoryStore

    async def run(
        self,
        arguments: Sequence[str],
        inputs: Inputs | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        variation: worker_pb2.Variation | None = None,
        seed: str = "",
        path: str = "/b/0123456789ab",
    ) -> Done:
        """Run `arguments` at `path`; what lies in the folder `out` of its input root comes back."""
        ordered = bool(variation and variation.order_seed)
        async with self.folders.action(ordered=ordered) as folder:
            await self._materialise({**(inputs or {}), "out": None}, folder / "root", variation)
            with (
                closing(Capture(folder / "stdout", max_bytes=STDIO_BYTES)) as stdout,
                closing(Capture(folder / "stderr", max_bytes=STDIO_BYTES)) as stderr,
            ):
                run = Run(
                    arguments=arguments,
                    environment={"PATH": self.config.env_path, **(environment or {})},
                    root=folder / "root",
                    path=path,
                    working_directory="",
                    scratch=folder,
                    stdout=stdout,
                    stderr=stderr,
                    timeout_seconds=SECONDS,
                    seed=seed,
                    variation=variation,
                )
                ended = await self.sandbox.run(run)
                await stdout.end()
                await stderr.end()
            out = folder / "root" / "out"
            return Done(
                ended.exit_code,
                _text(stdout),
                _text(stderr),
                {
                    str(file.relative_to(out)): file.read_bytes()
                    for file in sorted(out.rglob("*"))
                    if file.is_file()
                },
                self.sandbox.shown(run),
            )

    async def shell(
        self,
        script: str,
        inputs: Inputs | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        variation: worker_pb2.Variation | None = None,
        seed: str = "",
        path: str = "/b/0123456789ab",
    ) -> Done:
        """Run `script` by /bin/sh, which is to succeed."""
        done = await self.run(
            ["/bin/sh", "-c", script],
            inputs,
            environment=environment,
            variation=variation,
            seed=seed,
            path=path,
        )
        assert done.exit_code == 0, done.stderr
        return done

    async def _materialise(
        self, inputs: Inputs, root: Path, variation: worker_pb2.Variation | None
    ) -> None:
        tree = await load_inputs(self.store, await put_tree(self.store, inputs), LIMITS)
        materialiser = Materialiser(
            root=root,
            path=self.files.path,
            linked=self.sandbox.user is not None,
            user=self.sandbox.user,
            prevent=self.config.prevent,
            variation=variation,
        )
        async with self.files.holding(files_of(tree)):
            await asyncio.to_thread(materialiser.make, tree, (), "")


@asynccontextmanager
async def cell(
    path: Path, worker: Mapping[str, object] | None = None, *, own_user: bool = False
) -> AsyncIterator[Cell]:
    """Make a sandbox. own_user: actions run as this process's user, as if it were not root."""
    config = msgspec.convert({"path": str(path), **(worker or {})}, schema.Worker)
    with site(config) as (folders, spawner):
        adopt_orphans()
        sandbox = await sandbox_of(config, folders, spawner)
        if own_user:
            assert isinstance(config.sandbox, schema.Bubblewrap)
            sandbox = Bubblewrap(
                config.sandbox,
                config.prevent,
                folders,
                spawner,
                library=seeded.library(folders.path),
            )
        store = MemoryStore()
        files = FileCache(folders.files, store, max_bytes=config.cache_bytes)
        yield Cell(config, sandbox, folders, files, store)


@asynccontextmanager
async def cells(
    path: Path, *workers: Mapping[str, object], own_user: bool = False
) -> AsyncIterator[list[Cell]]:
    """Make several sandboxes, each as on a worker of its own."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(cell(path / str(number), worker, own_user=own_user))
            for number, worker in enumerate(workers)
        ]


def without(switch: str) -> dict[str, object]:
    """Return the configuration of a worker without one of the switches."""
    return {"prevent": {switch: False}}


def _text(stream: Capture) -> str:
    content = stream.content()
    data = content if isinstance(content, bytes) else content.read_bytes()
    return data.decode(errors="replace")
