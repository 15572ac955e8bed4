from __future__ import annotations

from google.rpc.status_pb2 import Status
from hypothesis import given, strategies as st

from cas.digest import Digest
from cas.wire import digest_to
from protos import remote_execution_pb2 as reapi
from re_server.batches import read_entry, read_failure, update_entry, update_failure

BLOBS = st.lists(st.binary(max_size=300), max_size=8)
STATUS = Status(code=5, message="not there")


@given(BLOBS)
def test_read_entries_are_the_messages_that_protobuf_makes(blobs: list[bytes]) -> None:
    answer = b"".join(read_entry(Digest.of(blob)) + blob for blob in blobs)
    missing = Digest.of(b"missing")
    answer += read_failure(missing, STATUS)
    expected = reapi.BatchReadBlobsResponse()
    for blob in blobs:
        expected.responses.add(digest=digest_to(Digest.of(blob)), data=blob)
    expected.responses.add(digest=digest_to(missing), status=STATUS)
    assert reapi.BatchReadBlobsResponse.FromString(answer) == expected


@given(BLOBS)
def test_update_entries_are_the_messages_that_protobuf_makes(blobs: list[bytes]) -> None:
    expected = reapi.BatchUpdateBlobsResponse()
    answer = b""
    for blob in blobs:
        digest = digest_to(Digest.of(blob))
        answer += update_entry(digest.SerializeToString())
        expected.responses.add(digest=digest, status=Status())
    refused = digest_to(Digest.of(b"refused"))
    answer += update_failure(refused.SerializeToString(), STATUS)
    expected.responses.add(digest=refused, status=STATUS)
    assert reapi.BatchUpdateBlobsResponse.FromString(answer) == expected
