"""How Buck2 asks for results, and the three occasions on which it uploads one."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.any_pb2 import Any as AnyMessage

from protos import remote_execution_pb2 as reapi, remote_execution_pb2_grpc as reapi_grpc
from tests.buck2.actions import Blobs, Hash, Made
from tests.buck2.connection import Connection, InfrastructureError, retried
from tests.buck2.results import checked
from tests.buck2.uploads import upload

STREAM_BYTES = 50 << 10  # stdout and stderr below this size are dropped from uploaded results


async def get_action_result(
    connection: Connection, action: reapi.Digest
) -> reapi.ActionResult | None:
    """Look an action up. Whatever goes wrong is a miss, and nobody is told."""
    stub = reapi_grpc.ActionCacheStub(connection.engine)
    request = reapi.GetActionResultRequest(
        instance_name=connection.settings.instance_name, action_digest=action
    )

    async def call() -> reapi.ActionResult:
        return await stub.GetActionResult(request, metadata=connection.metadata)

    try:
        return checked(await retried(call))
    except InfrastructureError:
        return None


async def update_action_result(
    connection: Connection, action: reapi.Digest, result: reapi.ActionResult
) -> reapi.ActionResult:
    """Upload a result, and return the server's reply."""
    stub = reapi_grpc.ActionCacheStub(connection.engine)
    request = reapi.UpdateActionResultRequest(
        instance_name=connection.settings.instance_name,
        action_digest=action,
        action_result=result,
    )

    async def call() -> reapi.ActionResult:
        return await stub.UpdateActionResult(request, metadata=connection.metadata)

    return checked(await retried(call))


def result_of(exit_code: int = 0) -> reapi.ActionResult:
    """Return a result with all times set, to the epoch where they are not known, and no worker."""
    result = reapi.ActionResult(exit_code=exit_code)
    metadata = result.execution_metadata
    for moment in (
        metadata.queued_timestamp,
        metadata.worker_start_timestamp,
        metadata.worker_completed_timestamp,
        metadata.input_fetch_start_timestamp,
        metadata.input_fetch_completed_timestamp,
        metadata.output_upload_start_timestamp,
        metadata.output_upload_completed_timestamp,
    ):
        moment.FromSeconds(0)
    metadata.execution_start_timestamp.FromSeconds(1_700_000_000)
    metadata.execution_completed_timestamp.FromSeconds(1_700_000_001)
    metadata.virtual_execution_duration.FromSeconds(1)
    return result


async def upload_local_result(
    connection: Connection,
    made: Made,
    files: Mapping[str, bytes],
    *,
    folders: Mapping[str, reapi.Tree] | None = None,
    links: Mapping[str, str] | None = None,
    stdout: bytes = b"",
) -> reapi.ActionResult:
    """Share what ran here: the Action, the Command and the outputs, and not the inputs."""
    blobs = Blobs(made.blobs.hash, dict(made.without_inputs()))
    result = result_of()
    for path in sorted(files):
        result.output_files.add(path=path, digest=blobs.add(files[path]))
    for path, tree in sorted((folders or {}).items()):
        result.output_directories.add(path=path, tree_digest=blobs.add_message(tree))
    for path, target in sorted((links or {}).items()):
        result.output_symlinks.add(path=path, target=target)
    if len(stdout) >= STREAM_BYTES:
        result.stdout_digest.CopyFrom(blobs.add(stdout))
    await upload(connection, blobs.data)
    return await update_action_result(connection, made.digest, result)


async def may_upload(connection: Connection, platform: str, *, hash: Hash) -> bool:
    """Find out whether results may be uploaded, by uploading one of nothing for `platform`.

    Its Action has a command and no input root. Any error means no, and is not remembered.
    """
    blobs = Blobs(hash)
    command = reapi.Command(arguments=["/command_not_executed", platform])
    command.platform.properties.add(name="OSFamily", value="linux")
    action = blobs.add_message(reapi.Action(command_digest=blobs.add_message(command)))
    await upload(connection, blobs.data)
    try:
        await update_action_result(connection, action, result_of())
    except InfrastructureError:
        return False
    return True


async def upload_dep_file(
    connection: Connection, stand_in: str, result: reapi.ActionResult, dep_file: bytes
) -> reapi.Digest:
    """Store what an action really depended on, under a synthetic Action that only names a digest.

    stand_in: that digest. One stand-in gets other results as time goes by.
    """
    blobs = Blobs()
    command = blobs.add_message(reapi.Command(arguments=[stand_in]))
    action = blobs.add_message(reapi.Action(command_digest=command))
    await upload(connection, blobs.data)
    noted = reapi.ActionResult()
    noted.CopyFrom(result)
    noted.execution_metadata.auxiliary_metadata.append(
        AnyMessage(type_url="remote_dep_file", value=dep_file)
    )
    await update_action_result(connection, action, noted)
    return action
