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
from protos import remote_execution_pb2 as reapi
from re_config import schema
from worker.assembly import assembled
from worker.bubblewrap import Bubblewrap
from worker.executor import Executor, Task
from worker.outputs import Canonicalise
from worker.process import Spawner

IS_ROOT = os.geteuid() == 0


@dataclass(frozen=True)
class Program:
    """An input file that can be executed."""

    data: bytes


@dataclass(frozen=True)
class Link:
    """An input that is a symbolic link."""

    target: str


Input = bytes | Program | Link | None  # None: an empty directory
Inputs = Mapping[str, Input]


def untouched(path: Path, /, *, begun: float, ended: float) -> None:
    """Canonicalise nothing."""


@dataclass
class Site:
    """One worker. function: of all digests."""

    executor: Executor
    store: BlobStore
    path: Path
    function: DigestFunction = DigestFunction.SHA256

    async def put(self, data: bytes) -> Digest:
        digest = Digest.of(data, self.function)
        await self.store.write_all(data, digest)
        return digest

    async def tree(self, inputs: Inputs) -> Digest:
        """Put an input tree; paths have `/` between segments."""
        below: dict[str, dict[str, Input]] = {}
        directory = reapi.Directory()
        for path, content in sorted(inputs.items(), key=lambda item: item[0].encode()):
            name, _, rest = path.partition("/")
            if rest:
                below.setdefault(name, {})[rest] = content
            elif content is None:
                below.setdefault(name, {})
            elif isinstance(content, Link):
                directory.symlinks.add(name=name, target=content.target)
            else:
                data = content.data if isinstance(content, Program) else content
                directory.files.add(
                    name=name,
                    digest=digest_to(await self.put(data)),
                    is_executable=isinstance(content, Program),
                )
        for name in sorted(below, key=str.encode):
            digest = await self.tree(below[name])
            directory.directories.add(name=name, digest=digest_to(digest))
        return await self.put(directory.SerializeToString(deterministic=True))

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

    async def execute(
        self,
        action: Digest,
        *,
        timeout_seconds: float = 60,
        canonicalise: bool = False,
    ) -> reapi.ActionResult:
        task = Task("", action, timeout_seconds, canonicalise)
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
    canonicalise: Canonicalise = untouched,
) -> AsyncIterator[Site]:
    setting = setting or Setting()
    store = store or MemoryStore()
    worker = msgspec.convert({"path": str(path), **setting.worker}, schema.Worker)
    limits = msgspec.convert(setting.limits, schema.Limits)
    async with assembled(worker, limits, store, canonicalise) as executor:
        if not setting.own_user:
            yield Site(executor, store, path)
            return
        with Spawner() as spawner:
            sandbox = Bubblewrap(schema.Bubblewrap(), spawner, user=None)
            settings = replace(executor.settings, linked_inputs=False)
            yield Site(replace(executor, sandbox=sandbox, settings=settings), store, path)


BUBBLEWRAP = Setting()
COPYING = Setting({"inputs": "copy"})
OWN_USER = Setting(own_user=True)
PLAIN = Setting({"sandbox": {"kind": "none"}})
SETTINGS = {"bubblewrap": BUBBLEWRAP, "copying": COPYING, "own_user": OWN_USER, "plain": PLAIN}
