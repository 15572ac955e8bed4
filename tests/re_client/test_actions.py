"""Actions, pins and workers, against a whole server in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cas.digest import Digest, DigestFunction
from cas.folder import Blobs, Folder, encode
from cas.store import BlobNotFound
from cas.tree import InvalidMessage, MissingInputs
from protos import remote_execution_pb2 as reapi, worker_pb2
from re_client.actions import Actions
from re_client.admin import Admin
from re_client.blobs import RemoteStore
from re_client.command_line import CommandLine, to_action
from re_client.connection import Connection
from re_client.explained import explain
from re_client.status import NotServed, Unserved
from re_client.upload import upload
from re_client.worker_link import WorkerLink, worker_link
from tests.re_client.remote import server_connection

OFFER = worker_pb2.Offer(name="test", slots=2)


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[Connection]:
    async with server_connection(tmp_path) as made:
        yield made


def action(*arguments: str) -> tuple[Digest, Blobs]:
    blobs: Blobs = {}
    root = encode(Folder(), DigestFunction.SHA256, blobs)
    return to_action(CommandLine(arguments), root, blobs), blobs


async def uploaded(connection: Connection, *arguments: str) -> Digest:
    digest, blobs = action(*arguments)
    await upload(await RemoteStore.open(connection, ""), blobs)
    return digest


async def test_an_action_without_a_result_has_none(connection: Connection) -> None:
    with pytest.raises(NotServed):
        await Actions(connection, "").result(action("true")[0])
    with pytest.raises(NotServed):
        await Admin(connection).pin("", action("true")[0])


async def test_the_first_result_that_is_stored_stays(connection: Connection) -> None:
    digest = await uploaded(connection, "true")
    actions = Actions(connection, "")
    first = await actions.update(digest, reapi.ActionResult(stdout_raw=b"first"))
    again = await actions.update(digest, reapi.ActionResult(stdout_raw=b"second"))
    assert again == first
    assert (await actions.result(digest, inline=True)).stdout_raw == b"first"
    pin = await Admin(connection).pin("", digest)
    assert (pin.revision, pin.conflicts) == (1, 1)
    assert (await Admin(connection).status()).pins.conflicts == 1


async def test_a_result_of_an_action_that_is_not_uploaded_is_refused(
    connection: Connection,
) -> None:
    # REAPI rule: Action and Command are uploaded before their result.
    with pytest.raises((MissingInputs, Unserved)):
        await Actions(connection, "").update(action("true")[0], reapi.ActionResult())


async def test_all_inputs_that_are_missing_are_named(connection: Connection) -> None:
    # REAPI rule: FAILED_PRECONDITION names every missing blob.
    digest, _ = action("true")
    with pytest.raises(MissingInputs) as caught:
        await Actions(connection, "").execute(digest)
    assert digest in caught.value.digests


async def test_a_worker_takes_leases_and_its_results_are_answered(connection: Connection) -> None:
    digest = await uploaded(connection, "echo")
    stages: list[int] = []

    async def execute() -> reapi.ExecuteResponse:
        return await Actions(connection, "").execute(
            digest, on_stage=lambda state: stages.append(state.stage)
        )

    async with worker_link(connection, OFFER) as link, asyncio.TaskGroup() as tasks:
        # A receive that is cancelled loses nothing, and the stream goes on.
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await link.receive()
        executing = tasks.create_task(execute())
        message = await link.receive()
        assert message.lease.action_digest.hash == digest.hash
        await finish(link, message.lease.id)
        response = await executing
    assert response.result.stdout_raw == b"done"
    assert reapi.ExecutionStage.EXECUTING in stages


async def finish(link: WorkerLink, lease: str) -> None:
    response = reapi.ExecuteResponse(result=reapi.ActionResult(stdout_raw=b"done"))
    finished = worker_pb2.Finished(lease=lease, response=response)
    await link.send(worker_pb2.FromWorker(finished=finished))


async def test_what_is_sent_last_arrives_although_the_link_closes(connection: Connection) -> None:
    digest = await uploaded(connection, "last")
    async with asyncio.TaskGroup() as tasks:
        async with worker_link(connection, OFFER) as link:
            executing = tasks.create_task(Actions(connection, "").execute(digest))
            await finish(link, (await link.receive()).lease.id)
        assert (await executing).result.stdout_raw == b"done"


async def test_a_lease_that_is_out_when_its_worker_goes_is_given_to_another(
    connection: Connection,
) -> None:
    digest = await uploaded(connection, "again")
    async with asyncio.TaskGroup() as tasks:
        async with worker_link(connection, OFFER) as link:
            executing = tasks.create_task(Actions(connection, "").execute(digest))
            first = await link.receive()
        async with worker_link(connection, OFFER) as link:
            second = await link.receive()
            assert second.lease.id != first.lease.id
            await finish(link, second.lease.id)
            assert (await executing).result.stdout_raw == b"done"


async def test_an_offer_that_cannot_be_is_refused(connection: Connection) -> None:
    async with worker_link(connection, worker_pb2.Offer(name="", slots=1)) as link:
        with pytest.raises(ValueError, match="needs a name"):
            await link.receive()


async def test_an_action_is_explained_as_far_as_it_is_there(connection: Connection) -> None:
    store, actions = await RemoteStore.open(connection, ""), Actions(connection, "")
    admin = Admin(connection)
    digest, blobs = action("explained")
    with pytest.raises(BlobNotFound):
        await explain(store, actions, admin, "", digest)
    data = blobs[digest]
    assert isinstance(data, bytes)
    await store.write_all(data, digest)
    found = await explain(store, actions, admin, "", digest)
    assert found.command is None
    assert len(found.missing) == 1
    assert found.inputs is not None
    await upload(store, blobs)
    await actions.update(digest, reapi.ActionResult())
    found = await explain(store, actions, admin, "", digest)
    assert found.missing == []
    assert found.command is not None
    assert list(found.command.arguments) == ["explained"]
    assert found.result is not None
    assert found.pin is not None
    await store.write_all(b"no action", Digest.of(b"no action"))
    with pytest.raises(InvalidMessage, match="is no Action"):
        await explain(store, actions, admin, "", Digest.of(b"no action"))
