"""Actions that checks of the execution service run: small scripts for /bin/sh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from google.longrunning import operations_pb2
from google.rpc.error_details_pb2 import PreconditionFailure
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from conformance import methods
from conformance.refusal import CODES, Refused, details_of
from conformance.target import Target, unique
from conformance.trees import encoded
from conformance.violation import Violation, expect
from protos import remote_execution_pb2 as reapi

DIFFERENT_EACH_TIME = "cat /proc/sys/kernel/random/uuid"


@dataclass(frozen=True)
class Executed:
    """What came of one Execute or WaitExecution: every message, in order."""

    operations: Sequence[operations_pb2.Operation]

    @property
    def last(self) -> operations_pb2.Operation:
        if not self.operations:
            raise Violation("the stream ended without any message")
        return self.operations[-1]

    @property
    def response(self) -> reapi.ExecuteResponse:
        """The last message's; raise Violation if it has none."""
        response = reapi.ExecuteResponse()
        expect(self.last.done, "the stream ended with an operation that is not done")
        expect(not self.last.HasField("error"), "Operation.error is set")
        expect(self.last.response.Unpack(response), "the response is no ExecuteResponse")
        return response

    @property
    def result(self) -> reapi.ActionResult:
        """The result of an action that ran; raise Violation if it did not."""
        response = self.response
        code = CODES[response.status.code]
        said = f"the action was not run: {code.name}, {response.status.message}"
        expect(code == StatusCode.OK, said)
        expect(response.HasField("result"), "there is no result")
        return response.result

    @property
    def metadata(self) -> list[reapi.ExecuteOperationMetadata]:
        """Of each message; raise Violation where it is of another type."""
        return [metadata_of(operation) for operation in self.operations]


def metadata_of(operation: operations_pb2.Operation) -> reapi.ExecuteOperationMetadata:
    metadata = reapi.ExecuteOperationMetadata()
    expect(operation.metadata.Unpack(metadata), "metadata is no ExecuteOperationMetadata")
    return metadata


def script(text: str, *outputs: str) -> reapi.Command:
    """Return a Command that runs `text`, and gives `outputs`."""
    return reapi.Command(arguments=["/bin/sh", "-c", text], output_paths=sorted(outputs))


@dataclass
class Inputs:
    """An input root. files: path to bytes; None makes a folder. links: path to target."""

    files: Mapping[str, bytes | None] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    executables: frozenset[str] = frozenset()

    async def put(self, target: Target) -> reapi.Digest:
        """Upload all, and return the root's digest."""
        return await self._put_folder(target, "")

    async def _put_folder(self, target: Target, prefix: str) -> reapi.Digest:
        directory, below = reapi.Directory(), set()
        for path in sorted({*self.files, *self.links}):
            if not path.startswith(prefix):
                continue
            name, slash, _ = path[len(prefix) :].partition("/")
            data = self.files.get(path)
            if slash or (path in self.files and data is None):
                below.add(name)
            elif path in self.links:
                directory.symlinks.add(name=name, target=self.links[path])
            elif data is not None:
                directory.files.add(
                    name=name,
                    digest=await target.put_one(data),
                    is_executable=path in self.executables,
                )
        for name in sorted(below):
            directory.directories.add(
                name=name, digest=await self._put_folder(target, f"{prefix}{name}/")
            )
        return await target.put_message(directory)


EMPTY = Inputs()


async def put_action(
    target: Target,
    command: reapi.Command,
    inputs: Inputs = EMPTY,
    *,
    timeout_seconds: float = 0,
    do_not_cache: bool = False,
) -> reapi.Digest:
    """Upload an action of its own: nobody has run it before. Platforms are the target's."""
    platform = platform_of(target)
    command.platform.CopyFrom(platform)
    action = reapi.Action(
        command_digest=await target.put_message(command),
        input_root_digest=await inputs.put(target),
        do_not_cache=do_not_cache,
        salt=unique(8),
        platform=platform,
    )
    if timeout_seconds:
        action.timeout.FromNanoseconds(int(timeout_seconds * 1e9))
    return await target.put_message(action)


def platform_of(target: Target) -> reapi.Platform:
    return reapi.Platform(
        properties=[
            reapi.Platform.Property(name=name, value=value)
            for name, value in sorted(target.platform.items())
        ]
    )


def request_for(
    target: Target, action: reapi.Digest, *, skip_cache_lookup: bool = False
) -> reapi.ExecuteRequest:
    return target.named(
        reapi.ExecuteRequest(action_digest=action, skip_cache_lookup=skip_cache_lookup)
    )


async def execute(
    target: Target, action: reapi.Digest, *, skip_cache_lookup: bool = False
) -> Executed:
    request = request_for(target, action, skip_cache_lookup=skip_cache_lookup)
    return Executed(await target.collect(methods.EXECUTE, request))


async def run(target: Target, text: str, *outputs: str, inputs: Inputs = EMPTY) -> Executed:
    """Run a script that nobody has run before."""
    return await execute(target, await put_action(target, script(text, *outputs), inputs))


async def unexecuted(target: Target, action: reapi.Digest) -> Status:
    """Execute what cannot be run; return why, wherever it is said. Raise Violation if it ran.

    What is found before there is an Operation is the call's status, what is found later the
    response's: l.79-85.
    """
    try:
        executed = await execute(target, action)
    except Refused as error:
        return status_of(error)
    status = executed.response.status
    expect(status.code, "the action was executed")
    return status


def status_of(error: Refused) -> Status:
    status = Status(code=error.code.value[0], message=error.message)
    status.details.extend(error.status.details)
    return status


def missing_subjects(status: Status) -> set[str]:
    """Return the subjects of the violations of type MISSING that `status` comes with."""
    return {
        violation.subject
        for failure in details_of(status, PreconditionFailure)
        for violation in failure.violations
        if violation.type == "MISSING"
    }


async def stdout_of(target: Target, result: reapi.ActionResult) -> bytes:
    return await _stream_of(target, result.stdout_raw, result.stdout_digest)


async def stderr_of(target: Target, result: reapi.ActionResult) -> bytes:
    return await _stream_of(target, result.stderr_raw, result.stderr_digest)


async def _stream_of(target: Target, raw: bytes, digest: reapi.Digest) -> bytes:
    return raw if raw or not digest.size_bytes else await target.fetch(digest)


async def outputs_of(target: Target, result: reapi.ActionResult) -> dict[str, bytes]:
    """Return the bytes of the output files, by path."""
    return {each.path: await target.fetch(each.digest) for each in result.output_files}


async def tree_of(target: Target, result: reapi.ActionResult, path: str) -> reapi.Tree:
    """Return one output directory's Tree; raise Violation if it is not there."""
    found = [each for each in result.output_directories if each.path == path]
    expect(len(found) == 1, f"{len(found)} output directories are called {path!r}")
    return reapi.Tree.FromString(await target.fetch(found[0].tree_digest))


def paths_of(target: Target, tree: reapi.Tree) -> dict[str, reapi.FileNode]:
    """Return the files of a tree by path; raise Violation if a directory is not in it."""
    by_hash = {target.digest(encoded(each)).hash: each for each in tree.children}
    found: dict[str, reapi.FileNode] = {}
    waiting = [("", tree.root)]
    while waiting:
        prefix, directory = waiting.pop()
        found.update({f"{prefix}{file.name}": file for file in directory.files})
        for node in directory.directories:
            expect(node.digest.hash in by_hash, f"{prefix}{node.name} is not in the Tree")
            waiting.append((f"{prefix}{node.name}/", by_hash[node.digest.hash]))
    return found
