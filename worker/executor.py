"""One action, from its digest to its result."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from cas.digest import Digest
from cas.prefetched import prefetched
from cas.store import BlobStore, StoreFull
from cas.tree import TreeLimits
from cas.wire import digest_to
from determinism.canonical import Rewritten, Selection, rules
from protos import remote_execution_pb2 as reapi, worker_pb2
from re_client.status import Refused
from re_config.schema import Prevention
from worker.command import Loaded, load
from worker.files import FileCache
from worker.folders import Folders
from worker.live import Follow, followed
from worker.materialise import Materialiser, files_of
from worker.outputs import Collected, Collector, OutputLimits, OutputsTooLarge, OutputUnfit
from worker.process import to_its_end
from worker.program import Versions, program_of
from worker.rewriting import Made, rewritten
from worker.sandbox import Ended, Run, Sandbox
from worker.seeded import Seeding
from worker.stdio import Capture
from worker.upload import upload
from worker.usage import duration


@dataclass(frozen=True, slots=True)
class Task:
    """What to run. timeout_seconds: bound on the command's own running time.

    named: blobs that the action is said to name, which are read with it, to save calls.
    selection: what of outputs is brought into canonical form before they get their names; it has
    the mnemonic. variation: what is to be otherwise than in an ordinary run.
    """

    instance: str
    action: Digest
    timeout_seconds: float
    selection: Selection
    named: tuple[Digest, ...] = ()
    variation: worker_pb2.Variation | None = None

    @property
    def varied(self) -> worker_pb2.Variation:
        return self.variation or worker_pb2.Variation()


class Executed(NamedTuple):
    """The result of an action, and how it was run."""

    result: reapi.ActionResult
    report: worker_pb2.Report


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
    versions: Versions
    seeding: Seeding
    prevent: Prevention

    async def execute(self, task: Task, follow: Follow | None = None) -> Executed:
        """Run `task` and return its result, whatever the command's exit code; blobs are uploaded.

        follow: is to have what the command writes while it runs.
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
            async with self.folders.action(ordered=bool(task.varied.order_seed)) as folder:
                execution = _Execution(self, task, loaded, folder, metadata)
                await execution.fetch()
                with _streams(folder, self.settings.max_stdio_bytes) as (stdout, stderr):
                    async with followed(follow, stdout, stderr):
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
        return Executed(result, await self._report(task, loaded, execution))

    async def _report(self, task: Task, loaded: Loaded, execution: _Execution) -> worker_pb2.Report:
        program = program_of(loaded.command.arguments)
        report = worker_pb2.Report(
            rules=rules(task.selection),
            switches=self.sandbox.switches,
            program=program,
            program_version=await self.versions.of(loaded, self.settings.default_path),
            root=execution.seen_root,
        )
        for each in execution.rewritten:
            report.rewritten.add(
                path=each.name,
                formats=each.formats,
                before=digest_to(each.before),
                bytes=each.bytes,
            )
        return report

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


@dataclass(slots=True)
class _Execution:
    """One action under way, in `folder`; its steps, in their order, are the methods.

    rewritten: outputs that were brought into canonical form. seen_root: where the action sees its
    input root. input_times: modification times that inputs were given, in nanoseconds since 1970.
    """

    executor: Executor
    task: Task
    loaded: Loaded
    folder: Path
    metadata: reapi.ExecutedActionMetadata
    rewritten: list[Rewritten] = field(default_factory=list)
    seen_root: str = ""
    input_times: set[int] = field(default_factory=set)

    async def fetch(self) -> None:
        """Make the input tree."""
        _stamp(self.metadata.input_fetch_start_timestamp)
        files = self.executor.files
        materialiser = Materialiser(
            root=self.folder / "root",
            path=files.path,
            linked=self.executor.settings.linked_inputs,
            user=self.executor.sandbox.user,
            prevent=self.executor.prevent,
            variation=self.task.variation,
        )
        self.input_times = materialiser.times
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
            seed=self.executor.seeding.of(self.loaded, self.task.selection.mnemonic),
            variation=self.task.variation,
        )
        self.seen_root = self.executor.sandbox.shown(run)
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
        )
        try:
            self.rewritten.extend(await to_its_end(self._rewrite))
            collected = await to_its_end(collector.collect)
            if collected.contents.directories:
                self.metadata.auxiliary_metadata.add().Pack(collected.contents)
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

    def _rewrite(self) -> list[Rewritten]:
        """Bring outputs into canonical form."""
        files = self.executor.files
        made = Made(
            loaded=self.loaded,
            root=self.folder / "root",
            user=self.executor.sandbox.user,
            begun=self.metadata.execution_start_timestamp.ToNanoseconds() / 1e9,
            ended=self.metadata.execution_completed_timestamp.ToNanoseconds() / 1e9,
            seen_root=self.seen_root,
            input_times=self.input_times,
            inputs={file.digest: files.path(file) for file in files_of(self.loaded.inputs)},
        )
        return rewritten(
            made, self.task.selection, max_entries=self.executor.settings.outputs.entries
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
