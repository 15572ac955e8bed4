"""Names of blobs and uploads, in every form that the protocol gives them.

Source: remote_execution.proto, service ContentAddressableStorage.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies

from cas.digest import Digest, DigestFunction, InvalidDigest
from cas.wire import RESERVED_SEGMENTS
from re_client.status import NotServed, Refused
from re_config.determinism_tables import Instance
from re_server.compression.codec import Codec
from re_server.compression.codecs import codec_named
from re_server.instances import Instances
from re_server.resource_name import Resource, parse_read, parse_write

SHA256, SHA1, BLAKE3 = DigestFunction.SHA256, DigestFunction.SHA1, DigestFunction.BLAKE3
LONG, SHORT = "ab" * 32, "cd" * 20
UUID = "1c5e3a7e-93c5-4f0c-a7ef-d6b6dbb1c8a4"
ANY = Instances({}, Instance())
NAMED = Instances(
    {"": Instance(), "b3": Instance(digest_function=BLAKE3), "a/b/c": Instance()}, Instance()
)

# What follows the instance name, and what it means in an instance of SHA256.
FORMS: dict[str, tuple[Digest, Codec | None]] = {
    f"blobs/{LONG}/5": (Digest(LONG, 5, SHA256), None),
    f"blobs/{LONG}/0": (Digest(LONG, 0, SHA256), None),
    f"blobs/{SHORT}/5": (Digest(SHORT, 5, SHA1), None),
    f"blobs/{'ef' * 16}/5": (Digest("ef" * 16, 5, DigestFunction.MD5), None),
    f"blobs/{'ef' * 48}/5": (Digest("ef" * 48, 5, DigestFunction.SHA384), None),
    f"blobs/{'ef' * 64}/5": (Digest("ef" * 64, 5, DigestFunction.SHA512), None),
    f"blobs/blake3/{LONG}/5": (Digest(LONG, 5, BLAKE3), None),
    f"blobs/sha256tree/{LONG}/5": (Digest(LONG, 5, DigestFunction.SHA256TREE), None),
    f"blobs/gitsha1/{SHORT}/5": (Digest(SHORT, 5, DigestFunction.GITSHA1), None),
    f"compressed-blobs/zstd/{LONG}/5": (Digest(LONG, 5, SHA256), codec_named("zstd")),
    f"compressed-blobs/deflate/{SHORT}/5": (Digest(SHORT, 5, SHA1), codec_named("deflate")),
    f"compressed-blobs/brotli/blake3/{LONG}/5": (Digest(LONG, 5, BLAKE3), codec_named("brotli")),
    f"blobs/{LONG}/{(1 << 63) - 1}": (Digest(LONG, (1 << 63) - 1, SHA256), None),
}
INSTANCES = ["", "main", "a/b/c", "blob", "upload", "a.b-c_d/e", "blobs2", "x" * 300]
METADATA = ["", "/file.txt", "/some/path/of the client's", "/", "/blobs/x/1", "/uploads/y"]


@pytest.mark.parametrize("instance", INSTANCES)
@pytest.mark.parametrize("form", FORMS)
def test_a_blobs_name_says_instance_digest_and_compressor(instance: str, form: str) -> None:
    name = f"{instance}/{form}" if instance else form
    assert parse_read(name, ANY) == Resource(instance, *FORMS[form])


@pytest.mark.parametrize("instance", INSTANCES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("metadata", METADATA)
def test_an_uploads_name_says_the_same_and_metadata_is_the_clients_own(
    instance: str, form: str, metadata: str
) -> None:
    prefix = f"{instance}/" if instance else ""
    name = f"{prefix}uploads/{UUID}/{form}{metadata}"
    assert parse_write(name, ANY) == Resource(instance, *FORMS[form])


def test_a_uuid_may_be_anything_that_is_there() -> None:
    for uuid in ("x", "blobs", "uploads", "blake3", "1"):
        name = f"main/uploads/{uuid}/blobs/{LONG}/5"
        assert parse_write(name, ANY) == Resource("main", Digest(LONG, 5, SHA256), None)


def test_the_instance_says_what_a_hash_without_a_function_is() -> None:
    # Buck2 rule: it never names BLAKE3; the instance's configuration does.
    assert parse_read(f"b3/blobs/{LONG}/5", NAMED).digest.function is BLAKE3
    assert parse_read(f"a/b/c/blobs/{LONG}/5", NAMED).digest.function is SHA256
    assert parse_read(f"b3/blobs/{SHORT}/5", NAMED).digest.function is SHA1
    assert parse_read(f"a/b/c/blobs/blake3/{LONG}/5", NAMED).digest.function is BLAKE3


@pytest.mark.parametrize("keyword", sorted(RESERVED_SEGMENTS))
@pytest.mark.parametrize("where", ["{}", "a/{}", "{}/a", "a/{}/b"])
def test_no_segment_of_an_instance_is_a_keyword(keyword: str, where: str) -> None:
    instance = where.format(keyword)
    with pytest.raises((Refused, InvalidDigest)):
        parse_read(f"{instance}/blobs/{LONG}/5", ANY)
    with pytest.raises((Refused, InvalidDigest)):
        parse_write(f"{instance}/uploads/{UUID}/blobs/{LONG}/5", ANY)
    with pytest.raises(Refused, match=keyword):
        ANY.find(instance)


@pytest.mark.parametrize("instance", ["other", "a/b", "a/b/c/d", "B3"])
def test_an_instance_that_is_not_served_is_told_with_those_that_are(instance: str) -> None:
    with pytest.raises(NotServed, match="'a/b/c', 'b3'"):
        parse_read(f"{instance}/blobs/{LONG}/5", NAMED)
    with pytest.raises(NotServed, match="'a/b/c', 'b3'"):
        parse_read(f"{instance}/blobs/blake3/{LONG}/5", NAMED)
    with pytest.raises(NotServed, match="'a/b/c', 'b3'"):
        parse_write(f"{instance}/uploads/{UUID}/blobs/{LONG}/5", NAMED)


@pytest.mark.parametrize("function", ["md5", "sha1", "sha256", "sha384", "sha512"])
def test_functions_that_are_told_by_their_length_are_not_named(function: str) -> None:
    # REAPI rule: the segment is left out for them.
    with pytest.raises(Refused, match=function):
        parse_read(f"blobs/{function}/{LONG}/5", ANY)


@pytest.mark.parametrize("compressor", ["", "identity", "IDENTITY", "ZSTD", "gzip", "lz4", LONG])
def test_a_compressor_that_is_not_served_is_named(compressor: str) -> None:
    with pytest.raises(Refused, match="compressor"):
        parse_read(f"compressed-blobs/{compressor}/{LONG}/5", ANY)


WRONG = [
    "blobs", f"blobs/{LONG}", f"blobs/{LONG}/", f"blobs/{LONG}/-1", f"blobs/{LONG}/+1",
    f"blobs/{LONG}/1e3", f"blobs/{LONG}/٣", f"blobs/{LONG}/²", f"blobs/{LONG}/{1 << 63}",
    f"blobs/{LONG}/{10**19}", f"blobs/{LONG.upper()}/5", f"blobs/{LONG[:-1]}/5", f"blobs/{LONG}0/5",
    f"blobs/blake3/{SHORT}/5", f"blobs/BLAKE3/{LONG}/5", "blobs/blake3/5", "blobs/blake3",
    f"blobs/vso/{LONG}/5", f"blobs/murmur3/{'ef' * 16}/5", f"blobs/gitsha1/{LONG}/5",
    "compressed-blobs", "compressed-blobs/zstd", f"compressed-blobs/zstd/{LONG}",
]  # fmt: skip


@pytest.mark.parametrize("form", WRONG)
def test_any_other_form_is_refused_with_the_name_in_it(form: str) -> None:
    with pytest.raises((Refused, InvalidDigest), match="resource_name"):
        parse_read(form, ANY)
    with pytest.raises((Refused, InvalidDigest), match="resource_name"):
        parse_write(f"uploads/{UUID}/{form}", ANY)


def test_nothing_follows_the_size_of_a_blob_that_is_read() -> None:
    with pytest.raises(Refused, match="the form is"):
        parse_read(f"blobs/{LONG}/5/file.txt", ANY)


@pytest.mark.parametrize("name", ["", "/", "uploads", "uploads/", f"uploads/{UUID}", "uploads//x"])
def test_an_upload_has_a_uuid_and_a_blob(name: str) -> None:
    with pytest.raises(Refused, match="the form is"):
        parse_write(name, ANY)
    with pytest.raises(Refused, match="the form is"):
        parse_write(f"blobs/{LONG}/5", ANY)


segments = strategies.sampled_from(
    [
        "",
        "a",
        "blobs",
        "uploads",
        "compressed-blobs",
        "zstd",
        "brotli",
        "blake3",
        LONG,
        SHORT,
        "5",
        "-5",
        "x",
    ]
)


@settings(max_examples=300, deadline=None, database=None)
@given(strategies.lists(segments, max_size=9).map("/".join) | strategies.text(max_size=60))
def test_whatever_the_name_is_it_is_understood_or_refused(name: str) -> None:
    for parse in (parse_read, parse_write):
        try:
            resource = parse(name, ANY)
        except (Refused, InvalidDigest):
            continue
        assert name.startswith(resource.instance)
        assert f"{resource.digest.hash}/" in name
