from __future__ import annotations

import pytest
from google.rpc import code_pb2

from protos import remote_execution_pb2 as reapi
from tests.buck2.action_cache import get_action_result
from tests.buck2.actions import Made, blake3_hash, make, sha1
from tests.buck2.connection import Connection, InfrastructureError, Settings, connected
from tests.buck2.downloads import download
from tests.buck2.executing import begun, build, execute
from tests.buck2.results import outputs, shown
from tests.buck2.uploads import upload
from tests.protocol.blobs import unique
from tests.serving import Served

Stage = reapi.ExecutionStage


def salted(script: str, *outputs: str) -> Made:
    """Make an action that no other test makes: Buck2 has no salt."""
    return make(f"{script}\n# {unique().hex()}", outputs)


async def test_an_action_goes_from_queued_to_executing_to_a_result(client: Connection) -> None:
    # Buck2 rule: QUEUED and EXECUTING are what it shows; nothing goes back.
    made = salted("sleep 0.5; echo 1 > out", "out")
    await upload(client, made.blobs.data)
    finished = await execute(client, made)
    assert Stage.EXECUTING in finished.stages
    assert finished.stages == sorted(finished.stages)
    assert not finished.response.cached_result
    assert finished.result.HasField("execution_metadata")


async def test_the_second_build_is_all_hits(client: Connection) -> None:
    made = salted("echo 1 > out", "out")
    first = await build(client, made)
    assert await build(client, made) == first


async def test_the_platform_is_in_the_command_alone(client: Connection) -> None:
    # Buck2 rule: Action.platform is never set; properties are in Command.platform.
    made = make(f"echo {unique().hex()}", properties=[("OSFamily", "linux")])
    assert (await build(client, made)).exit_code == 0
    made = make(f"echo {unique().hex()}", properties=[("OSFamily", "windows")])
    await upload(client, made.blobs.data)
    with pytest.raises(InfrastructureError, match="OSFamily"):
        await execute(client, made)


async def test_no_path_is_set_and_programs_are_found(client: Connection) -> None:
    # Buck2 rule: the environment has no PATH, HOME or TMPDIR; the worker gives a PATH.
    result = await build(client, make(f"env; ls / | wc -l; # {unique().hex()}", env={"A": "b"}))
    text = await shown(client, result.stdout_raw, result.stdout_digest)
    assert result.exit_code == 0
    assert b"A=b\n" in text
    assert b"\nPATH=/" in b"\n" + text


async def test_outputs_are_a_file_a_folder_a_link_and_one_that_is_missing(
    client: Connection,
) -> None:
    # Buck2 rule: output_paths are told by the requested strings, each once, as what they turned out
    # to be; one that is missing is left out with status OK, and the client complains.
    script = "mkdir b/d b/d/empty; echo f > b/f; chmod +x b/f; ln -s f b/l; ln -s /abs b/d/inner"
    made = salted(script, "b/d", "b/f", "b/l", "b/missing")
    result = await build(client, made)
    found = await outputs(client, result, made.blobs)
    assert {path: mode for path, (_, mode) in found.files.items()} == {"b/f": True}
    assert found.folders == {"b/d": {"empty": "folder", "inner": "/abs"}}
    assert found.links == {"b/l": "f"}
    (digest, _) = found.files["b/f"]
    assert await download(client, [digest]) == [b"f\n"]


@pytest.mark.parametrize(("instance", "hash"), [("blake3", blake3_hash), ("sha1", sha1)])
async def test_trees_are_named_in_the_clients_function(
    served: Served, instance: str, hash: object
) -> None:
    # Buck2 rule: children of a Tree are encoded and hashed again, by the client's own function.
    assert callable(hash)
    async with connected(served.grpc, Settings(instance_name=instance)) as connection:
        made = make("mkdir -p d/a/b d/c; echo x > d/a/b/f", ["d"], hash=hash)
        found = await outputs(connection, await build(connection, made), made.blobs)
        assert found.folders["d"]["a/b/f"] == hash(b"x\n")


async def test_an_action_without_inputs_runs(client: Connection) -> None:
    # Buck2 rule: the empty input root is never uploaded.
    made = salted("ls -A | wc -l")
    assert (await build(client, made)).exit_code == 0


async def test_empty_directories_and_empty_files_of_inputs_are_there(client: Connection) -> None:
    # Buck2 rule: empty directories are in the tree on purpose; empty files are never uploaded.
    made = make("test -d gen/out && test -f e && test ! -s e && echo 1 > gen/out/f",
                ["gen/out/f"], inputs={"e": b"", "src/a.c": unique()})  # fmt: skip
    assert (await build(client, made)).exit_code == 0


async def test_a_failed_action_comes_with_status_ok_and_its_output(client: Connection) -> None:
    made = salted("echo why >&2; exit 9")
    await upload(client, made.blobs.data)
    result = (await execute(client, made)).result
    assert result.exit_code == 9
    assert await shown(client, result.stderr_raw, result.stderr_digest) == b"why\n"


async def test_a_run_without_cache_is_a_run(client: Connection) -> None:
    # Buck2 rule: --no-remote-cache sets skip_cache_lookup.
    made = salted("cat /proc/sys/kernel/random/uuid > out", "out")
    first = await build(client, made)
    again = await execute(client, made, skip_cache_lookup=True)
    assert not again.response.cached_result
    assert again.result.output_files[0].digest != first.output_files[0].digest
    hit = await get_action_result(client, made.digest)
    assert hit is not None
    assert hit.output_files == first.output_files


async def test_a_strict_action_that_differs_fails_as_an_action(client: Connection) -> None:
    # Buck2 rule: errors of remote execution may be run again locally, where nobody compares; a
    # failed action with status OK fails the build. Its `message` is shown to the user.
    made = make(
        f"cat /proc/sys/kernel/random/uuid > out # {unique().hex()}",
        ["out"],
        properties=[("OSFamily", "linux"), ("holdfast-determinism", "strict")],
    )
    await build(client, made)
    finished = await execute(client, made, skip_cache_lookup=True)
    assert finished.result.exit_code == 1
    assert "out" in finished.response.message
    result = finished.result
    assert b"out" in await shown(client, result.stderr_raw, result.stderr_digest)


async def test_missing_inputs_fail_the_action_and_name_what_is_missing(client: Connection) -> None:
    # Buck2 rule: it uploads nothing again, so that the message has to help.
    made = make(f"cat in # {unique().hex()}", inputs={"in": unique()})
    await upload(client, made.without_inputs())
    missing = [hash for hash, _ in made.blobs.data.keys() - made.without_inputs().keys()]
    with pytest.raises(InfrastructureError, match="|".join(missing)):
        await execute(client, made)


async def test_a_timeout_is_deadline_exceeded(client: Connection) -> None:
    # Buck2 rule: a status that is not OK discards the result, and shows its message.
    made = make(f"sleep 40 # {unique().hex()}", timeout_seconds=1)
    await upload(client, made.blobs.data)
    with pytest.raises(InfrastructureError) as caught:
        await execute(client, made)
    assert caught.value.code == code_pb2.DEADLINE_EXCEEDED
    assert "1" in str(caught.value)


async def test_priorities_are_accepted(client: Connection) -> None:
    for priority in (-5, 0, 5, (1 << 31) - 1):
        made = salted("true")
        await upload(client, made.blobs.data)
        assert (await execute(client, made, priority=priority)).result.exit_code == 0


async def test_an_output_larger_than_a_message_is_not_inlined(client: Connection) -> None:
    # Buck2 rule: its clients of Execution and ActionCache stop reading a message at 4 MiB.
    made = salted("head -c 6000000 /dev/urandom; head -c 6000000 /dev/zero > out", "out")
    result = await build(client, made)
    assert result.stdout_digest.size_bytes == 6_000_000
    assert not result.stdout_raw
    assert await get_action_result(client, made.digest) == result


async def test_a_stream_dropped_before_the_action_runs_does_no_harm(client: Connection) -> None:
    # Buck2 rule: Ctrl-C, or a race lost to a local run, resets the stream.
    for _ in range(10):
        made = salted("sleep 0.1")
        await upload(client, made.blobs.data)
        async with begun(client, made):
            pass
    assert (await build(client, salted("true"))).exit_code == 0


async def test_a_stream_dropped_while_the_action_runs_does_no_harm(client: Connection) -> None:
    made = salted("sleep 1; echo 1 > out", "out")
    await upload(client, made.blobs.data)
    async with begun(client, made) as stream:
        async for operation in stream:
            metadata = reapi.ExecuteOperationMetadata.FromString(operation.metadata.value)
            if metadata.stage == Stage.EXECUTING:
                break
    assert (await execute(client, made)).result.output_files[0].path == "out"


async def test_properties_may_stand_in_any_order(client: Connection) -> None:
    # Buck2 rule: persistentWorkerKey is appended last, unsorted; an action that has it must work
    # one at a time. No worker here serves the property, which the refusal names.
    properties = [("OSFamily", "linux"), ("zone", "x"), ("persistentWorkerKey", "k")]
    made = make(f"echo {unique().hex()}", properties=properties)
    await upload(client, made.blobs.data)
    with pytest.raises(InfrastructureError, match=r"zone|persistentWorkerKey"):
        await execute(client, made)
