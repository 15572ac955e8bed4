from __future__ import annotations

import pytest
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import PreconditionFailure, RetryInfo
from google.rpc.status_pb2 import Status

from cas.digest import Digest, DigestFunction, InvalidDigest
from cas.store import BlobNotFound, DigestMismatch, StoreFull
from cas.tree import MissingInputs
from re_client.status import (
    NotAllowed,
    NotServed,
    OutOfRange,
    Overloaded,
    Refused,
    ServerFailed,
    Unserved,
    from_status,
    to_status,
)

BLOB = Digest.of(b"blob")
OTHER = Digest.of(b"other", DigestFunction.BLAKE3)


@pytest.mark.parametrize(
    "error",
    [
        NotServed("no such instance"),
        Refused("field: out of bounds"),
        OutOfRange("offset"),
        Unserved("not now"),
        Overloaded("too much"),
        NotAllowed("not you"),
        NotImplementedError("no such method"),
        TimeoutError("too late"),
        ConnectionError("gone"),
    ],
)
def test_a_fact_comes_back_as_it_was_told(error: Exception) -> None:
    back = from_status(to_status(error))
    assert type(back) is type(error)
    assert str(back) == str(error)


@pytest.mark.parametrize(
    "error", [StoreFull("full"), Overloaded("too much"), ConnectionError("gone"), BrokenPipeError()]
)
def test_what_is_shed_says_when_to_come_back(error: Exception) -> None:
    # REAPI rule: any error may carry RetryInfo.
    (detail,) = to_status(error).details
    told = RetryInfo()
    assert detail.Unpack(told)
    assert told.retry_delay.ToSeconds() > 0


def test_what_is_about_a_blob_to_keep_comes_back_with_it() -> None:
    mismatch = DigestMismatch(expected=BLOB, found=Digest.of(b"else"))
    back = from_status(to_status(mismatch), digest=BLOB)
    assert isinstance(back, DigestMismatch)
    assert (back.expected, back.found) == (mismatch.expected, mismatch.found)
    assert isinstance(from_status(to_status(StoreFull("no room")), digest=BLOB), StoreFull)


def test_all_missing_blobs_come_back_each_in_its_function() -> None:
    # REAPI rule: a violation's subject is blobs/{function/}{hash}/{size}, and all are listed.
    back = from_status(to_status(MissingInputs([BLOB, OTHER])))
    assert isinstance(back, MissingInputs)
    assert set(back.digests) == {BLOB, OTHER}
    named_by_nobody = Status(code=Code.FAILED_PRECONDITION)
    failure = PreconditionFailure()
    failure.violations.add(type="MISSING", subject=f"blobs/{OTHER}")
    named_by_nobody.details.add().Pack(failure)
    back = from_status(named_by_nobody, function=DigestFunction.BLAKE3)
    assert isinstance(back, MissingInputs)
    assert back.digests == [OTHER]


@pytest.mark.parametrize("subject", ["blobs/x", "blobs/abc/1", "", f"blobs/md5/{BLOB}"])
def test_a_missing_blob_that_is_none_is_the_servers_fault(subject: str) -> None:
    failure = PreconditionFailure()
    failure.violations.add(type="MISSING", subject=subject)
    status = Status(code=Code.FAILED_PRECONDITION)
    status.details.add().Pack(failure)
    with pytest.raises(ServerFailed):
        from_status(status)


def test_other_codes_are_the_servers_failure_and_are_named() -> None:
    for code, name in ((Code.INTERNAL, "INTERNAL"), (Code.DATA_LOSS, "DATA_LOSS"), (99, "99")):
        back = from_status(Status(code=code, message="why"))
        assert isinstance(back, ServerFailed)
        assert name in str(back)
        assert "why" in str(back)


def test_facts_without_a_type_of_their_own_keep_their_message() -> None:
    assert isinstance(from_status(to_status(BlobNotFound(BLOB))), NotServed)
    assert str(BLOB) in str(from_status(to_status(BlobNotFound(BLOB))))
    assert isinstance(from_status(to_status(InvalidDigest("digest hash"))), Refused)
