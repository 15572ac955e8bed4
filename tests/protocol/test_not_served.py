"""What the server does not do it does not pretend to do: UNIMPLEMENTED, and the calls go on."""

from __future__ import annotations

import grpc
import pytest

from tests.protocol.peer import CALL_SECONDS, Peer, refused

UNKNOWN_METHODS = (
    "/build.bazel.remote.execution.v2.ContentAddressableStorage/NoSuchMethod",
    "/no.such.Service/Method",
    "/",
    "/x",
    "/google.devtools.build.v1.PublishBuildEvent/PublishLifecycleEvent",
)


@pytest.fixture(autouse=True)
def _still_serving(peer: Peer) -> object:
    yield
    assert peer.has(peer.digest(b""))


@pytest.mark.parametrize("method", UNKNOWN_METHODS)
def test_methods_that_nobody_knows_are_unimplemented(peer: Peer, method: str) -> None:
    call = peer.channel.unary_unary(
        method,
        request_serializer=lambda request: request,
        response_deserializer=lambda response: response,
    )
    with refused(grpc.StatusCode.UNIMPLEMENTED):
        call(b"", timeout=CALL_SECONDS)
