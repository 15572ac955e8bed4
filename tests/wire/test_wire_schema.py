"""Our protocol files say the same on the wire as the public ones."""

from __future__ import annotations

import msgspec
import pytest
from google.protobuf.descriptor import FileDescriptor

from protos import (
    bytestream_pb2,
    logstream_pb2,
    remote_asset_pb2,
    remote_execution_pb2,
    semver_pb2,
)
from tests.wire.schema import Field, File, Message, Method, differences, file_of, public_files

OURS = {
    "build/bazel/remote/asset/v1/remote_asset.proto": remote_asset_pb2.DESCRIPTOR,
    "build/bazel/remote/execution/v2/remote_execution.proto": remote_execution_pb2.DESCRIPTOR,
    "build/bazel/remote/logstream/v1/remote_logstream.proto": logstream_pb2.DESCRIPTOR,
    "build/bazel/semver/semver.proto": semver_pb2.DESCRIPTOR,
    "google/bytestream/bytestream.proto": bytestream_pb2.DESCRIPTOR,
}


@pytest.mark.parametrize(("path", "ours"), OURS.items(), ids=OURS)
def test_a_file_is_wire_identical_with_the_public_one(path: str, ours: FileDescriptor) -> None:
    found = differences(public_files()[path], file_of(ours))
    assert not found, "\n".join([f"{ours.name} differs from {path}:", *found])


def test_no_public_file_is_left_out() -> None:
    assert public_files().keys() == OURS.keys()


SMALL = File(
    package="p",
    imports=[],
    messages={"p.M": Message(fields=[Field(number=1, name="a", type="string")])},
    enums={"p.E": {"ZERO": 0}},
    services={"p.S": {"Call": Method(request="p.M", response="p.M")}},
)


@pytest.mark.parametrize(
    ("ours", "about"),
    [
        ({"package": "q"}, "package: "),
        ({"messages": {}}, "message p.M: "),
        ({"messages": {"p.M": Message([])}}, "message p.M field 1: "),
        ({"messages": {"p.M": Message([Field(1, "b", "string")])}}, "message p.M field 1: "),
        ({"messages": {"p.M": Message([Field(1, "a", "bytes")])}}, "message p.M field 1: "),
        (
            {"messages": {"p.M": Message([Field(1, "a", "string", repeated=True)])}},
            "message p.M field 1: ",
        ),
        (
            {"messages": {"p.M": Message([Field(1, "a", "string", oneof="o")])}},
            "message p.M field 1: ",
        ),
        (
            {"messages": {**SMALL.messages, "p.M2": Message([])}},
            "message p.M2: public 'nothing', ours 'defined'",
        ),
        (
            {"messages": {"p.M": Message(SMALL.messages["p.M"].fields, [(2, 3)])}},
            "message p.M reserved: public '[]', ours '[(2, 3)]'",
        ),
        ({"enums": {"p.E": {"ZERO": 1}}}, "enum p.E value ZERO: public '0', ours '1'"),
        ({"enums": {}}, "enum p.E: "),
        (
            {"services": {"p.S": {"Call": Method("p.M", "p.M", server_streaming=True)}}},
            "service p.S rpc Call: public 'p.M -> p.M', ours 'p.M -> stream p.M'",
        ),
        ({"services": {}}, "service p.S: "),
    ],
)
def test_a_difference_is_named(ours: dict[str, object], about: str) -> None:
    found = differences(SMALL, msgspec.structs.replace(SMALL, **ours))
    assert any(line.startswith(about) for line in found), found


def test_a_file_does_not_differ_from_itself() -> None:
    assert differences(SMALL, SMALL) == []
