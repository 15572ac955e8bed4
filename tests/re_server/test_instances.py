from __future__ import annotations

import pytest

from cas.digest import Digest, DigestFunction, InvalidDigest
from cas.wire import RESERVED_SEGMENTS
from protos import remote_execution_pb2 as reapi
from re_client.status import NotServed, Refused
from re_config.determinism_tables import Instance
from re_server.instances import Instances

B3 = Instance(digest_function=DigestFunction.BLAKE3)
SHA1 = Instance(digest_function=DigestFunction.SHA1)
DEFAULT = Instance(allow_pin_replace=True)
LONG, SHORT = "ab" * 32, "cd" * 20


def test_where_none_is_named_every_one_is_served_as_the_default_says() -> None:
    instances = Instances({}, DEFAULT)
    for name in ("", "main", "a/b/c", "x" * 1000):
        assert instances.find(name) is DEFAULT


def test_where_some_are_named_only_they_are_served() -> None:
    instances = Instances({"": SHA1, "b": B3}, DEFAULT)
    assert (instances.find(""), instances.find("b")) == (SHA1, B3)
    with pytest.raises(NotServed, match="'a' is not served here; there are '', 'b'"):
        instances.find("a")


@pytest.mark.parametrize("keyword", sorted(RESERVED_SEGMENTS))
def test_a_keyword_is_no_part_of_a_name(keyword: str) -> None:
    # REAPI rule: what follows the instance in a resource name may not be a segment of it.
    for instances in (Instances({}, DEFAULT), Instances({"a": B3}, DEFAULT)):
        with pytest.raises(Refused, match=keyword):
            instances.find(f"a/{keyword}")


@pytest.mark.parametrize(
    ("instance", "number", "hash", "expected"),
    [
        (Instance(), 0, LONG, DigestFunction.SHA256),
        (Instance(), 0, SHORT, DigestFunction.SHA1),
        (Instance(), 0, "", DigestFunction.SHA256),
        (B3, 0, LONG, DigestFunction.BLAKE3),
        (B3, 0, SHORT, DigestFunction.SHA1),
        (SHA1, 0, LONG, DigestFunction.SHA256),
        (B3, reapi.DigestFunction.SHA256, LONG, DigestFunction.SHA256),
        (Instance(), reapi.DigestFunction.BLAKE3, LONG, DigestFunction.BLAKE3),
    ],
)
def test_the_function_is_the_requests_else_that_of_the_length_else_the_instances(
    instance: Instance, number: int, hash: str, expected: DigestFunction
) -> None:
    # REAPI rule: a function that is not named follows from the length of the hash.
    # Buck2 rule: it never names one, so that the instance says what 64 characters are.
    assert Instances({"i": instance}, DEFAULT).function("i", number, hash) is expected


@pytest.mark.parametrize(
    "number", [reapi.DigestFunction.VSO, reapi.DigestFunction.MURMUR3, 999, -1]
)
def test_a_function_that_is_not_served_is_told_with_those_that_are(number: int) -> None:
    with pytest.raises(InvalidDigest, match="BLAKE3, GITSHA1, MD5, SHA1, SHA256"):
        Instances({}, DEFAULT).function("", number, LONG)


def test_a_wrong_digest_is_told_with_its_field_and_place() -> None:
    instances = Instances({}, DEFAULT)
    good, bad = reapi.Digest(hash=LONG, size_bytes=1), reapi.Digest(hash="x", size_bytes=1)
    with pytest.raises(InvalidDigest, match=r"^root: digest hash 'x'"):
        instances.digest("", 0, bad, field="root")
    with pytest.raises(InvalidDigest, match=r"^blobs\[1\]: digest hash 'x'"):
        instances.digests("", 0, [good, bad], field="blobs")
    with pytest.raises(InvalidDigest, match="size_bytes -1"):
        instances.digest("", 0, reapi.Digest(hash=LONG, size_bytes=-1), field="root")


def test_the_digests_of_a_request_have_one_function() -> None:
    # REAPI rule: one digest function for a request.
    instances = Instances({}, DEFAULT)
    long, short = (reapi.Digest(hash=hash, size_bytes=1) for hash in (LONG, SHORT))
    assert instances.digests("", 0, [short], field="f") == [Digest(SHORT, 1, DigestFunction.SHA1)]
    assert instances.digests("", 0, [], field="f") == []
    with pytest.raises(InvalidDigest, match=r"f\[1\]"):
        instances.digests("", 0, [long, short], field="f")
