"""A worker over a store in memory, and actions for it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from cas.digest import Digest, DigestFunction
from cas.memory import MemoryStore
from cas.store import BlobStore
from cas.wire import digest_to
from determinism.canonical import Extent, Selection
from protos import remote_execution_pb2 as reapi, worker_pb2
from re_config import schema
from tests.worker.trees import Input, Inputs, Link, Program, put, put_tree
from worker import seeded
from worker.assembly import assembled
from worker.bubblewrap import Bubblewrap
from worker.conditions import ConditioningSpawner
from worker.executor import Executed, Executor, Task

IS_ROOT = os.geteuid() == 0
UNTOUCHED = Selection(how=Extent.NOTHING)
__all__ = ["Input", "Inputs", "Link", "Program"]  # of tests/worker/trees.py


@dataclass
class Site:
    """One worker. function: of all digests."""

    executor: Executor
    store: BlobStore
    path: Path
    function: DigestFunction = DigestFunction.SHA256

    async def put(self, data: bytes) -> Digest:
        return await put(self.store, data, self.function)

    async def tree(self, inputs: Inputs) -> Digest:
        return await put_tree(self.store, inputs, self.function)

    async def action(
        self,
        arguments: Sequence[str],
        inputs: Inputs | None = None,
        outputs: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        command: reapi.Command | None = None,
    ) -> Digest:
        """Put an action. command: what else it says."""
        whole = reapi.Command(arguments=arguments, output_paths=sorted(outputs))
        for name, value in sorted((environment or {}).items()):
            whole.environment_variables.add(name=name, value=value)
        if command is not None:
            whole.MergeFrom(command)
        action = reapi.Action(
            command_digest=digest_to(await self.put(whole.SerializeToString(deterministic=True))),
            input_root_digest=digest_to(await self.tree(inputs or {})),
        )
        return await self.put(action.SerializeToString(deterministic=True))

    async def execute(self, action: Digest, *, timeout_seconds: float = 60) -> reapi.ActionResult:
        return (await self.run(action, timeout_seconds=timeout_seconds)).result

    async def run(
        self,
        action: Digest,
        *,
        timeout_seconds: float = 60,
        selection: Selection = UNTOUCHED,
        variation: worker_pb2.Variation | None = None,
    ) -> Executed:
        """Run an action. selection: what is brought into canonical form, by default nothing."""
        task = Task("", action, timeout_seconds, selection, variation=variation)
        return await self.executor.execute(task)

    async def shell(
        self,
        script: str,
        inputs: Inputs | None = None,
        outputs: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        command: reapi.Command | None = None,
    ) -> reapi.ActionResult:
        """Run `script` by /bin/sh."""
        arguments = ["/bin/sh", "-c", script]
        return await self.execute(
            await self.action(arguments, inputs, outputs, environment, command)
        )

    async def blob(self, digest: reapi.Digest) -> bytes:
        return await self.store.read_all(Digest(digest.hash, digest.size_bytes, self.function))

    async def stdout(self, result: reapi.ActionResult) -> str:
        return (await self.blob(result.stdout_digest)).decode() if result.stdout_digest.hash else ""

    async def stderr(self, result: reapi.ActionResult) -> str:
        return (await self.blob(result.stderr_digest)).decode() if result.stderr_digest.hash else ""

    async def files(self, result: reapi.ActionResult) -> dict[str, bytes]:
        return {file.path: await self.blob(file.digest) for file in result.output_files}

    def left(self) -> list[Path]:
        """Return what is left of actions."""
        return list((self.path / "actions").iterdir())


@dataclass
class Setting:
    """How a worker is set up. own_user: actions run as its own user, as if it were not root."""

    worker: dict[str, object] = field(default_factory=dict)
    limits: dict[str, object] = field(default_factory=dict)
    own_user: bool = False


@asynccontextmanager
async def site(
    path: Path,
    setting: Setting | None = None,
    store: BlobStore | None = None,
) -> AsyncIterator[Site]:
    setting = setting or Setting()
    store = store or MemoryStore()
    worker = msgspec.convert({"path": str(path), **setting.worker}, schema.Worker)
    limits = msgspec.convert(setting.limits, schema.Limits)
    async with assembled(worker, limits, store) as executor:
        if not setting.own_user:
            yield Site(executor, store, path)
            return
        with ConditioningSpawner(worker.prevent) as spawner:
            library = seeded.library(executor.folders.path)
            sandbox = Bubblewrap(
                schema.Bubblewrap(), worker.prevent, executor.folders, spawner, library=library
            )
            async with executor.folders.action() as folder:
                await sandbox.probe(folder)
            settings = replace(executor.settings, linked_inputs=False)
            yield Site(replace(executor, sandbox=sandbox, settings=settings), store, path)


BUBBLEWRAP = Setting()
COPYING = Setting({"inputs": "copy"})
OWN_USER = Setting(own_user=True)
PLAIN = Setting({"sandbox": {"kind": "none"}})
SETTINGS = {"bubblewrap": BUBBLEWRAP, "copying": COPYING, "own_user": OWN_USER, "plain": PLAIN}
