from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from tests.protocol.peer import CALL_SECONDS, Peer, refused

SERVICES = (
    "build.bazel.remote.execution.v2.ActionCache",
    "build.bazel.remote.execution.v2.Capabilities",
    "build.bazel.remote.execution.v2.ContentAddressableStorage",
    "build.bazel.remote.execution.v2.Execution",
    "google.bytestream.ByteStream",
    "build.bazel.remote.asset.v1.Fetch",
    "build.bazel.remote.asset.v1.Push",
    "google.longrunning.Operations",
)
SERVING = health_pb2.HealthCheckResponse.SERVING


def reflected(
    peer: Peer, *requests: reflection_pb2.ServerReflectionRequest
) -> list[reflection_pb2.ServerReflectionResponse]:
    call = peer.channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    return list(call(iter(requests), timeout=CALL_SECONDS))


def checked(peer: Peer, service: str) -> int:
    """Return the status of `service`; the server's own where it is empty."""
    call = peer.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    request = health_pb2.HealthCheckRequest(service=service)
    return int(call(request, timeout=CALL_SECONDS).status)


def test_the_server_and_each_of_its_services_are_serving(peer: Peer) -> None:
    for service in ("", *SERVICES):
        assert checked(peer, service) == SERVING, service


def test_the_health_of_an_unknown_service_is_not_found(peer: Peer) -> None:
    with refused(grpc.StatusCode.NOT_FOUND):
        checked(peer, "no.Such")


def test_health_can_be_watched(peer: Peer) -> None:
    watch = peer.channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    call = watch(health_pb2.HealthCheckRequest(), timeout=CALL_SECONDS)
    assert next(call).status == SERVING
    call.cancel()


def test_reflection_lists_what_is_served(peer: Peer) -> None:
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = reflected(peer, request)
    names = {service.name for service in answer.list_services_response.service}
    assert set(SERVICES) <= names


def test_every_listed_service_is_described(peer: Peer) -> None:
    requests = [
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in SERVICES
    ]
    for answer in reflected(peer, *requests):
        assert answer.file_descriptor_response.file_descriptor_proto
