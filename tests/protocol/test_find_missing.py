from __future__ import annotations

import grpc
import pytest

from protos import remote_execution_pb2 as reapi
from tests.protocol.blobs import BLAKE3, SHA1, SHA256, UNNAMED, digest_of, key, unique
from tests.protocol.peer import Peer, refused

UNSERVED_FUNCTIONS = (reapi.DigestFunction.VSO, reapi.DigestFunction.MURMUR3)


def test_what_was_uploaded_is_not_missing_and_the_rest_is(each: Peer) -> None:
    present = each.put_one(unique())
    absent = each.digest(unique())
    assert each.find_missing(present, absent) == [absent]


def test_missing_digests_are_told_exactly_as_they_were_asked(each: Peer) -> None:
    # Buck2 rule: the reply echoes requested pairs of hash and size, and nothing more.
    absent = [each.digest(unique(size)) for size in range(1, 200)]
    assert sorted(map(key, each.find_missing(*absent))) == sorted(map(key, absent))


def test_a_digest_asked_for_twice_is_told_once_or_twice_and_nothing_else(peer: Peer) -> None:
    absent = peer.digest(unique())
    assert {key(digest) for digest in peer.find_missing(absent, absent)} == {key(absent)}


def test_thousands_are_answered_as_few_are(each: Peer) -> None:
    # They are looked up a thousand at a time.
    present = each.put(*(unique(8) for _ in range(3)))
    absent = [each.digest(b"absent %d" % number) for number in range(2500)]
    asked = [present[0], *absent[:1200], present[1], *absent[1200:], present[2]]
    assert sorted(map(key, each.find_missing(*asked))) == sorted(map(key, absent))


def test_a_wrong_digest_behind_thousands_is_told_with_its_place(peer: Peer) -> None:
    asked = [peer.digest(b"absent %d" % number) for number in range(1500)]
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="blob_digests[1500]"):
        peer.find_missing(*asked, digest_of(b"x", SHA1))


def test_no_digests_are_no_error(each: Peer) -> None:
    assert each.find_missing() == []


def test_the_empty_blob_is_always_there(each: Peer) -> None:
    # REAPI rule: empty blobs are always available, in every digest function.
    assert each.has(each.digest(b""))


def test_the_size_is_part_of_the_name(each: Peer) -> None:
    # REAPI rule: a right hash with a wrong size is another blob.
    data = unique()
    stored = each.put_one(data)
    for size in (0, len(data) - 1, len(data) + 1, (1 << 63) - 1):
        other = reapi.Digest(hash=stored.hash, size_bytes=size)
        assert each.find_missing(other) == [other]


def test_a_hash_of_nothing_with_a_size_is_another_blob(each: Peer) -> None:
    other = reapi.Digest(hash=each.digest(b"").hash, size_bytes=1)
    assert each.find_missing(other) == [other]


def test_functions_of_one_length_are_separate_key_spaces(peer: Peer) -> None:
    # REAPI rule: 64 characters are SHA256's and BLAKE3's; one never answers for the other.
    data = unique()
    blake3 = peer.using(BLAKE3).put_one(data)
    assert peer.using(BLAKE3).has(blake3)
    assert not peer.using(SHA256).has(blake3)
    assert not peer.using(SHA256).has(digest_of(data, SHA256))


def test_without_a_function_64_characters_are_sha256_and_40_are_sha1(peer: Peer) -> None:
    # REAPI rule: a function that is not named follows from the length of the hash.
    data = unique()
    assert peer.using(UNNAMED).find_missing(peer.digest(data))
    peer.put_one(data)
    assert peer.using(UNNAMED).has(peer.digest(data))
    other = unique()
    sha1 = peer.using(SHA1).put_one(other)
    assert peer.using(UNNAMED).has(sha1)
    assert not peer.using(UNNAMED).has(digest_of(data, BLAKE3))


@pytest.mark.parametrize("instance", ["blake3", "sha1"])
def test_without_a_function_the_instances_own_comes_first(peer: Peer, instance: str) -> None:
    # Buck2 rule: no request names its digest function, so that the instance's settings decide.
    own = {"blake3": BLAKE3, "sha1": SHA1}[instance]
    there = peer.at(instance)
    stored = there.using(own).put_one(unique())
    assert there.using(UNNAMED).has(stored)


def test_in_a_blake3_instance_40_characters_are_still_sha1(peer: Peer) -> None:
    there = peer.at("blake3")
    stored = there.using(SHA1).put_one(unique())
    assert there.using(UNNAMED).has(stored)


@pytest.mark.parametrize("function", [*UNSERVED_FUNCTIONS, 77])
def test_a_function_that_is_not_served_is_refused(
    peer: Peer, function: reapi.DigestFunction.Value.ValueType
) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="digest_function"):
        peer.using(function).find_missing(digest_of(unique()))


def malformed_hashes(sound: str) -> list[str]:
    return [
        "",
        sound[:-1],
        sound + "0",
        sound.upper(),
        "g" + sound[1:],
        sound[:-1] + "\0",
        sound[:-1] + "\n",
        sound + "\n",
        "../" + sound[3:],
        "é" * (len(sound) // 2),
        "٣" * len(sound),  # digits to str.isdigit, but not to the protocol
    ]


def test_a_malformed_hash_is_refused_by_name(each: Peer) -> None:
    # REAPI rule: a hash is lowercase hexadecimal of the function's length.
    sound = each.digest(b"sound" * 7 + b"abc").hash
    assert sound != sound.upper()
    for hash in malformed_hashes(sound):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="digest"):
            each.find_missing(reapi.Digest(hash=hash, size_bytes=1))
    assert each.has(each.digest(b""))


@pytest.mark.parametrize("size", [-1, -(1 << 63)])
def test_a_negative_size_is_refused_by_name(each: Peer, size: int) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="size_bytes"):
        each.find_missing(reapi.Digest(hash=each.digest(b"x").hash, size_bytes=size))


def test_a_hash_of_another_functions_length_is_refused(peer: Peer) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="digest"):
        peer.find_missing(digest_of(b"x", SHA1))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="digest"):
        peer.using(SHA1).find_missing(digest_of(b"x", SHA256))


def test_one_malformed_digest_among_sound_ones_is_refused(peer: Peer) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="digest"):
        peer.find_missing(peer.digest(b"x"), reapi.Digest(hash="x", size_bytes=1))


def test_ten_thousand_digests_are_one_request(peer: Peer) -> None:
    present = peer.put_one(unique())
    absent = [reapi.Digest(hash=f"{number:064x}", size_bytes=5) for number in range(10_000)]
    assert len(peer.find_missing(*absent, present)) == 10_000


def test_what_one_instance_has_another_need_not_have_but_reads_alike(peer: Peer) -> None:
    data = unique()
    there = peer.at("a/b")
    stored = there.put_one(data)
    assert there.has(stored)
    assert there.read(stored) == data
