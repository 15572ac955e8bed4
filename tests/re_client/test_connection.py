from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from protos import remote_execution_pb2 as reapi
from re_client.connection import (
    DEFAULT_BATCH_BYTES,
    METADATA_KEY,
    Address,
    InvalidServer,
    address_of,
    batch_bytes,
    connected,
    status_of,
    told_apart,
)
from re_client.credentials import Credentials, InvalidCredentials, token_in_file
from re_client.status import ServerFailed
from tests.re_client.shaky import QUICK, Shaky, shaky


@pytest.mark.parametrize(
    ("server", "target"),
    [
        ("grpc://127.0.0.1:8980", "127.0.0.1:8980"),
        ("127.0.0.1:8980", "127.0.0.1:8980"),
        ("grpc://build.example:1/", "build.example:1"),
        ("grpc://[::1]:8980", "[::1]:8980"),
    ],
)
def test_a_server_is_written_with_or_without_its_scheme(server: str, target: str) -> None:
    assert address_of(server) == Address(target, encrypted=False)


@pytest.mark.parametrize("server", ["", "grpc://host", "http://host:1", "host:1/x", "a b:1", "::1"])
def test_what_is_no_server_is_refused(server: str) -> None:
    with pytest.raises(InvalidServer, match="write grpc://HOST:PORT"):
        address_of(server)


def test_a_server_with_tls_has_a_scheme_of_its_own() -> None:
    assert address_of("grpcs://host:1") == Address("host:1", encrypted=True)


async def test_a_token_is_not_sent_where_others_could_read_it() -> None:
    proof = Credentials(token=lambda: "secret")
    with pytest.raises(InvalidServer, match="write grpcs://") as caught:
        async with connected("grpc://build.example:1", credentials=proof):
            pass
    assert "secret" not in str(caught.value)


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidCredentials, match="go together"):
        Credentials(certificate=tmp_path / "absent").channel()
    with pytest.raises(InvalidCredentials, match="absent: No such file"):
        Credentials(ca=tmp_path / "absent").channel()


@pytest.mark.parametrize("text", ["", "two words", "two\nlines", "\u00e9", "\x00"])
def test_a_file_of_a_token_that_has_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(InvalidCredentials, match="token: must hold a token"):
        token_in_file(tmp_path / "token")


async def test_every_call_says_who_makes_it() -> None:
    async with shaky(Shaky()) as connection:
        ((key, value),) = connection.metadata
    assert key == METADATA_KEY
    assert isinstance(value, bytes)
    said = reapi.RequestMetadata.FromString(value)
    assert said.tool_details.tool_name == "holdfast"
    assert said.tool_invocation_id


async def test_a_server_that_is_not_there_is_named() -> None:
    async with connected("127.0.0.1:1", retry=QUICK) as connection:
        with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:1 cannot be reached"):
            await connection.capabilities("")


def test_batches_are_as_large_as_the_server_announces_within_bounds() -> None:
    def announced(size: int) -> reapi.ServerCapabilities:
        cache = reapi.CacheCapabilities(max_batch_total_size_bytes=size)
        return reapi.ServerCapabilities(cache_capabilities=cache)

    # REAPI rule: 0 still means gRPC's own limit of 4 MiB.
    assert batch_bytes(announced(0)) == DEFAULT_BATCH_BYTES
    assert batch_bytes(announced(1000)) == 1000
    assert batch_bytes(announced(1 << 40)) == DEFAULT_BATCH_BYTES
    with pytest.raises(ServerFailed):
        batch_bytes(announced(-1))


async def test_a_call_that_the_server_cancels_is_told_apart_from_a_task_that_is_cancelled() -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught, told_apart():
        raise asyncio.CancelledError
    assert status_of(caught.value).code == grpc.StatusCode.CANCELLED.value[0]

    async def waits() -> None:
        with told_apart():
            await asyncio.sleep(60)

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
