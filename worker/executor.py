"""One action, from its digest to its result."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from cas.digest import Digest
from cas.prefetched import prefetched
from cas.store import BlobStore, StoreFull
from cas.tree import TreeLimits
from protos import remote_execution_pb2 as reapi
from re_client.status import Refused
from worker.command import Loaded, load
from worker.files import FileCache
from worker.folders import Folders
from worker.materialise import Materialiser, files_of
from worker.outputs import (
    Canonicalise,
    Collected,
    Collector,
    OutputLimits,
    OutputsTooLarge,
    OutputUnfit,
    Rewrite,
)
from worker.process import to_its_end
from worker.sandbox import Ended, Run, Sandbox
from worker.stdio import Capture
from worker.upload import upload
from worker.usage import duration


@dataclass(frozen=True, slots=True)
class Task:
    """What to run. timeout_seconds: bound on the command's own running time.

    named: blobs that the action is said to name, which are read with it, to save calls.
    canonicalise: whether outputs are brought into canonical form before they get their names.
    """

    instance: str
    action: Digest
    timeout_seconds: float
    canonicalise: bool
    named: tuple[Digest, ...] = ()


class Unfinished(Exception):
    """An action that ran, but not to a result that could be served. result: what there is."""

    def __init__(self, message: str, result: reapi.ActionResult) -> None:
        super().__init__(message)
        self.result = result


class TimedOut(Unfinished, TimeoutError):
    """The command ran for as long as it might, and was killed."""


class OutputsRefused(Unfinished, OutputUnfit):
    """An output is there, and cannot be what the client asked for."""


class OutputsOverBound(Unfinished, OutputsTooLarge):
    """The outputs are over one of the worker's bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Bounds and names. default_path: PATH of actions whose Command sets none."""

    name: str
    default_path: str
    linked_inputs: bool
    max_stdio_bytes: int
    max_message_bytes: int
    tree: TreeLimits
    outputs: OutputLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """Runs actions, each in a folder and a sandbox of its own."""

    settings: Settings
    store: BlobStore
    files: FileCache
    folders: Folders
    sandbox: Sandbox
    canonicalise: Canonicalise

    async def execute(self, task: Task) -> reapi.ActionResult:
        """Run `task` and return its result, whatever the command's exit code; blobs are uploaded.

        Raises MissingInputs with all that the store lacks, InvalidMessage for what nobody could
        run, Unfinished with what there is of a result, SandboxUnavailable, StoreFull.
        When it returns, raises or is cancelled, no process and no file of the action is left.
        """
        metadata = reapi.ExecutedActionMetadata(worker=self.settings.name)
        _stamp(metadata.worker_start_timestamp)
        with self._translated():
            loaded = await load(
                await prefetched(self.store, [task.action, *task.named]),
                task.action,
                self.settings.tree,
                max_message_bytes=self.settings.max_message_bytes,
            )
            async with self.folders.action() as folder:
                execution = _Execution(self, task, loaded, folder, metadata)
                await execution.fetch()
                with _streams(folder, self.settings.max_stdio_bytes) as (stdout, stderr):
                    ended = await execution.run(stdout, stderr)
                    collected, failure = await execution.collect(stdout, stderr)
                await execution.upload(collected)
        result = collected.result
        result.exit_code = ended.exit_code
        _stamp(metadata.worker_completed_timestamp)
        result.execution_metadata.CopyFrom(metadata)
        if ended.timed_out:
            bound = task.timeout_seconds
            raise TimedOut(f"the action was stopped after its {bound:g} seconds", result)
        if failure is not None:
            raise _with_result(failure, result) from failure
        return result

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Say what the system's answer means for the worker or for the client."""
        try:
            yield
        except StoreFull:
            raise
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise StoreFull(
                    f"no room in worker.path {self.folders.path}: {error.strerror}"
                ) from error
            if error.errno in {errno.ENAMETOOLONG, errno.ELOOP}:
                raise Refused(f"{os.strerror(error.errno)}: {error.filename}") from error
            raise


@dataclass(frozen=True, slots=True)
class _Execution:
    """One action under way, in `folder`; its steps, in their order, are the methods."""

    executor: Executor
    task: Task
    loaded: Loaded
    folder: Path
    metadata: reapi.ExecutedActionMetadata

    async def fetch(self) -> None:
        """Make the input tree."""
        _stamp(self.metadata.input_fetch_start_timestamp)
        files = self.executor.files
        materialiser = Materialiser(
            root=self.folder / "root",
            path=files.path,
            linked=self.executor.settings.linked_inputs,
            user=self.executor.sandbox.user,
        )
        parents = {output.parent for output in self.loaded.outputs}
        inputs, start = self.loaded.inputs, self.loaded.working_directory
        async with files.holding(files_of(inputs)):
            await to_its_end(lambda: materialiser.make(inputs, parents, start))
        _stamp(self.metadata.input_fetch_completed_timestamp)

    async def run(self, stdout: Capture, stderr: Capture) -> Ended:
        run = Run(
            arguments=self.loaded.command.arguments,
            environment=self.loaded.environment(self.executor.settings.default_path),
            root=self.folder / "root",
            path=self.loaded.path,
            working_directory=self.loaded.working_directory,
            scratch=self.folder,
            stdout=stdout,
            stderr=stderr,
            timeout_seconds=self.task.timeout_seconds,
        )
        _stamp(self.metadata.execution_start_timestamp)
        begun = time.monotonic()
        ended = await self.executor.sandbox.run(run)
        self.metadata.virtual_execution_duration.CopyFrom(duration(time.monotonic() - begun))
        _stamp(self.metadata.execution_completed_timestamp)
        self.metadata.auxiliary_metadata.add().Pack(ended.usage.message())
        await stdout.end()
        await stderr.end()
        return ended

    async def collect(
        self, stdout: Capture, stderr: Capture
    ) -> tuple[Collected, OutputUnfit | OutputsTooLarge | None]:
        """Return stdout, stderr and the outputs; without these, if one is wrong, and what is."""
        failure: OutputUnfit | OutputsTooLarge | None = None
        collected = Collected()
        collector = Collector(
            self.loaded,
            self.folder / "root",
            self.task.action.function,
            self.executor.settings.outputs,
            user=self.executor.sandbox.user,
            rewrite=self._rewrite(),
        )
        try:
            collected = await to_its_end(collector.collect)
        except (OutputUnfit, OutputsTooLarge) as error:
            failure = error
        function = self.task.action.function
        for stream, named in (
            (stdout, collected.result.stdout_digest),
            (stderr, collected.result.stderr_digest),
        ):
            content = stream.content()
            if content:
                named.CopyFrom(await to_its_end(partial(collected.add, content, function)))
        return collected, failure

    async def upload(self, collected: Collected) -> None:
        _stamp(self.metadata.output_upload_start_timestamp)
        await upload(self.executor.store, collected.blobs)
        _stamp(self.metadata.output_upload_completed_timestamp)

    def _rewrite(self) -> Rewrite | None:
        if not self.task.canonicalise:
            return None
        return partial(
            self.executor.canonicalise,
            begun=self.metadata.execution_start_timestamp.ToNanoseconds() / 1e9,
            ended=self.metadata.execution_completed_timestamp.ToNanoseconds() / 1e9,
        )


@contextmanager
def _streams(folder: Path, max_bytes: int) -> Iterator[tuple[Capture, Capture]]:
    with (
        closing(Capture(folder / "stdout", max_bytes=max_bytes)) as stdout,
        closing(Capture(folder / "stderr", max_bytes=max_bytes)) as stderr,
    ):
        yield stdout, stderr


def _with_result(
    failure: OutputUnfit | OutputsTooLarge, result: reapi.ActionResult
) -> OutputsRefused | OutputsOverBound:
    if isinstance(failure, OutputsTooLarge):
        return OutputsOverBound(str(failure), result)
    return OutputsRefused(str(failure), result)


def _stamp(timestamp: Timestamp) -> None:
    timestamp.FromNanoseconds(time.time_ns())
