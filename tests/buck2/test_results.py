from __future__ import annotations

from protos import remote_execution_pb2 as reapi
from tests.buck2.action_cache import (
    get_action_result,
    may_upload,
    result_of,
    update_action_result,
    upload_dep_file,
    upload_local_result,
)
from tests.buck2.actions import Blobs, Made, make, sha256
from tests.buck2.connection import Connection
from tests.buck2.downloads import download
from tests.buck2.executing import build, execute
from tests.buck2.results import outputs
from tests.buck2.uploads import get_digests_ttl, upload
from tests.protocol.blobs import unique


def a_local_action() -> Made:
    return make(f"echo {unique().hex()}", ["out/f"], inputs={"src/never/uploaded.c": unique()})


async def test_an_action_that_nobody_ran_is_a_miss(client: Connection) -> None:
    assert await get_action_result(client, a_local_action().digest) is None


async def test_a_local_result_is_shared_without_its_inputs(client: Connection) -> None:
    # Buck2 rule: Action, Command and outputs are uploaded, the input tree is not; stdout and stderr
    # below 50 KiB are dropped; directories have a tree_digest alone, links are output_symlinks.
    made = a_local_action()
    tree = reapi.Tree()
    tree.root.directories.add(name="empty", digest=Blobs().add(b""))
    tree.children.add()
    stored = await upload_local_result(
        client,
        made,
        {"out/f": unique(), "out/g": b""},
        folders={"out/d": tree},
        links={"out/l": "f"},
        stdout=unique(60_000),
    )
    hit = await get_action_result(client, made.digest)
    assert hit == stored
    found = await outputs(client, hit, made.blobs)
    assert set(found.files) == {"out/f", "out/g"}
    assert found.folders == {"out/d": {"empty": "folder"}}
    assert found.links == {"out/l": "f"}


async def test_times_of_an_uploaded_result_are_kept(client: Connection) -> None:
    # Buck2 rule: all times are set, to the epoch where they are unknown, with a virtual duration.
    made = a_local_action()
    await upload_local_result(client, made, {})
    hit = await get_action_result(client, made.digest)
    assert hit is not None
    metadata = hit.execution_metadata
    metadata.ClearField("worker")  # which the server may set, so that no result is empty
    assert metadata == result_of().execution_metadata


async def test_the_permission_check_is_answered_yes_every_time(client: Connection) -> None:
    # Buck2 rule: before its first upload for a platform it uploads an empty result of an Action
    # that has a command and no input root; an error there makes it upload nothing.
    for _ in range(3):
        assert await may_upload(client, "linux", hash=sha256)
    assert await may_upload(client, "another platform", hash=sha256)


async def test_dep_files_come_back_byte_for_byte_and_may_change(client: Connection) -> None:
    # Buck2 rule: under a synthetic Action without input root it stores what an action depended on,
    # in auxiliary_metadata; the same Action gets another result when the headers change.
    stand_in = unique().hex()
    for _ in range(3):
        blobs = Blobs()
        result = result_of()
        result.output_files.add(path="out.o", digest=blobs.add(unique()))
        await upload(client, blobs.data)
        dep_file = unique(5000)
        action = await upload_dep_file(client, stand_in, result, dep_file)
        hit = await get_action_result(client, action)
        assert hit is not None
        assert hit.output_files == result.output_files
        (noted,) = hit.execution_metadata.auxiliary_metadata
        assert (noted.type_url, noted.value) == ("remote_dep_file", dep_file)


async def test_a_reply_to_an_upload_is_what_everybody_gets_from_then_on(
    client: Connection,
) -> None:
    # Ours: the first result of an action wins, and the reply says which one that is.
    made = a_local_action()
    first = await upload_local_result(client, made, {"out/f": unique()})
    second = await upload_local_result(client, made, {"out/f": unique()})
    assert second.output_files == first.output_files
    hit = await get_action_result(client, made.digest)
    assert hit is not None
    assert hit.output_files == first.output_files


async def test_a_local_result_is_a_hit_for_who_executes(client: Connection) -> None:
    made = make(f"echo {unique().hex()}; echo remote > out", ["out"])
    await upload_local_result(client, made, {"out": b"local"})
    result = await build(client, made)
    assert await download(client, [result.output_files[0].digest]) == [b"local"]


async def test_a_remote_result_is_a_hit_whose_blobs_are_all_there(client: Connection) -> None:
    # Buck2 rule: hits never refer to missing blobs; clients do not check.
    script = f"echo {unique().hex()} | tee f; mkdir d; echo x > d/f"
    made = make(script, ["f", "d"])
    first = await build(client, made)
    hit = await get_action_result(client, made.digest)
    assert hit == first
    assert hit.HasField("execution_metadata")
    digests = [hit.output_files[0].digest, hit.output_directories[0].tree_digest]
    assert all((await get_digests_ttl(client, digests)).values())


async def test_a_failed_action_is_never_a_hit(client: Connection) -> None:
    # Buck2 rule: a hit with an exit code other than 0 is a failed action.
    made = make(f"echo {unique().hex()}; exit 7")
    await upload(client, made.blobs.data)
    assert (await execute(client, made)).result.exit_code == 7
    assert await get_action_result(client, made.digest) is None


async def test_an_uploaded_failure_is_never_a_hit(client: Connection) -> None:
    made = a_local_action()
    await upload(client, made.without_inputs())
    await update_action_result(client, made.digest, result_of(exit_code=3))
    assert await get_action_result(client, made.digest) is None
