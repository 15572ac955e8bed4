from __future__ import annotations

import threading
import time
from urllib.request import urlopen

import grpc
import pytest
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest

from protos import remote_asset_pb2 as asset
from tests.assets.asking import Assets, sri
from tests.assets.conftest import Site
from tests.protocol.blobs import BLAKE3, GITSHA1, SHA1, unique
from tests.protocol.peer import CALL_SECONDS, refused, status_of

CHECKSUM = "checksum.sri"


def failed(response: asset.FetchBlobResponse | asset.FetchDirectoryResponse, code: int) -> str:
    """Check that the asset could not be had, for a reason that is told in the response."""
    assert response.status.code == code, response
    return str(response.status.message)


def got(assets: Assets, response: asset.FetchBlobResponse) -> bytes:
    assert response.status.code == Code.OK, response
    return assets.peer.read(response.blob_digest)


@pytest.mark.parametrize("function", [0, SHA1, BLAKE3, GITSHA1])
def test_a_blob_is_fetched_once_and_then_known(site: Site, assets: Assets, function: int) -> None:
    # REAPI rule: the digest function of the request is used and named, SHA256 where it names none.
    data = unique(200_000)
    uri = site.origin.put(f"once/{function}", data)
    used = Assets(assets.peer.using(function or 1), assets.fetch, assets.push)  # type: ignore[arg-type]
    for _ in range(2):
        response = used.blob(uri)
        assert got(used, response) == data
        assert (response.uri, response.digest_function) == (uri, function or 1)
        assert response.expires_at.seconds > time.time() + 1000
    assert site.origin.asked[f"once/{function}"] == 1


def test_answers_are_counted_and_what_is_known_too(site: Site, assets: Assets) -> None:
    assets.blob(site.origin.put("counted", unique()))
    with urlopen(f"http://{site.served.web}/metrics", timeout=CALL_SECONDS) as page:
        text = page.read().decode()
    assert 'holdfast_asset_answers_total{code="OK",kind="blob"}' in text
    assert "holdfast_assets 0.0" not in text
    assert "holdfast_asset_fetches 0.0" in text


def test_places_are_tried_in_order_and_the_one_that_gave_it_is_named(
    site: Site, assets: Assets
) -> None:
    data = unique()
    bad, good = site.origin.uri("status/500"), site.origin.put("mirror", data)
    response = assets.blob(bad, site.origin.uri("absent"), good)
    assert got(assets, response) == data
    assert response.uri == good


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("absent", Code.NOT_FOUND),
        ("status/410", Code.NOT_FOUND),
        ("status/401", Code.PERMISSION_DENIED),
        ("status/403", Code.PERMISSION_DENIED),
        ("status/429", Code.UNAVAILABLE),
        ("status/503", Code.UNAVAILABLE),
        ("status/204", Code.ABORTED),
        ("broken/breaks", Code.UNAVAILABLE),
        ("encoded/br/breaks", Code.ABORTED),
        ("redirect/302/redirect/302/absent", Code.NOT_FOUND),
        ("redirect/302/http~127.0.0.1:1/elsewhere", Code.PERMISSION_DENIED),
        ("redirect/302/file~/etc/hostname", Code.PERMISSION_DENIED),
    ],
)
def test_what_an_origin_does_wrong_is_told_in_the_status(
    site: Site, assets: Assets, path: str, code: int
) -> None:
    # REAPI rule: errors outside the server's control are inline, with the URI that they are of.
    site.origin.put("breaks", b"some bytes")
    response = assets.blob(site.origin.uri(path))
    assert site.origin.uri(path) in failed(response, code)
    assert response.uri == site.origin.uri(path)
    assert not response.HasField("blob_digest")


def test_an_origin_that_redirects_for_ever_is_given_up(site: Site, assets: Assets) -> None:
    path = "redirect/302/" * 12 + "absent"
    assert "redirects" in failed(assets.blob(site.origin.uri(path)), Code.UNAVAILABLE)


def test_redirects_are_followed_and_headers_stay_where_they_belong(
    site: Site, assets: Assets
) -> None:
    data = unique()
    site.origin.put("target", data)
    response = assets.blob(
        site.origin.uri("redirect/307/target"),
        having={"http_header:Authorization": "Bearer secret"},
    )
    assert got(assets, response) == data
    assert site.origin.headers["target"]["authorization"] == "Bearer secret"


def test_origins_that_are_not_listed_are_refused(site: Site, assets: Assets) -> None:
    port = site.origin.address.rpartition(":")[2]
    for uri in (
        f"http://127.0.0.2:{port}/x",
        f"http://[::1]:{port}/x",
        "http://169.254.169.254/latest/meta-data",
        "https://example.com/",
        "file:///etc/hostname",
    ):
        assert "assets.allow" in failed(assets.blob(uri), Code.PERMISSION_DENIED)


def test_a_name_that_leads_into_the_servers_own_network_is_refused(
    site: Site, assets: Assets
) -> None:
    port = site.origin.address.rpartition(":")[2]
    site.origin.put("inside", b"inside")
    uri = f"http://localhost:{port}/inside"
    assert "allow_private" in failed(assets.blob(uri), Code.PERMISSION_DENIED)
    assert site.origin.asked["inside"] == 0


def test_what_is_no_place_of_an_origin_is_not_found(assets: Assets) -> None:
    failed(assets.blob("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"), Code.NOT_FOUND)
    failed(assets.blob("ftp://127.0.0.1/x"), Code.NOT_FOUND)


@pytest.mark.parametrize("path", ["a%2f..%2fb", "a\\b", "%2e%2e/b", "a/../b"])
def test_paths_that_can_be_read_in_two_ways_are_refused(
    site: Site, assets: Assets, path: str
) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="uri"):
        assets.blob(site.origin.uri(path))


def test_the_checksum_is_verified(site: Site, assets: Assets) -> None:
    data = unique()
    uri = site.origin.put("sums", data)
    for algorithm in ("sha1", "sha384", "sha512", "sha256"):
        assert got(assets, assets.blob(uri, having={CHECKSUM: sri(data, algorithm)})) == data
    # The strongest decides, as Subresource Integrity has it, and any one of its kind will do.
    both = f"{sri(b'other')} {sri(data, 'sha512')} {sri(b'other', 'sha512')}"
    assert got(assets, assets.blob(uri, having={CHECKSUM: both})) == data
    weak = f"{sri(b'other', 'sha512')} {sri(data, 'sha256')}"
    failed(assets.blob(uri, having={CHECKSUM: weak}), Code.ABORTED)


def test_a_blob_that_is_there_is_found_by_its_checksum_alone(site: Site, assets: Assets) -> None:
    data = unique()
    digest = assets.peer.put_one(data)
    response = assets.blob(site.origin.uri("absent"), having={CHECKSUM: sri(data)})
    assert got(assets, response) == data
    assert response.blob_digest == digest
    pinned = {CHECKSUM: sri(data), "bazel.canonical_id": "elsewhere"}
    failed(assets.blob(site.origin.uri("absent"), having=pinned), Code.NOT_FOUND)


def test_content_is_fetched_anew_when_it_is_too_old(site: Site, assets: Assets) -> None:
    # REAPI rule: oldest_content_accepted bounds what is answered from memory. Bazel sends a time
    # an hour ahead where it has no checksum.
    old, new = unique(), unique()
    uri = site.origin.put("changing", old)
    assert got(assets, assets.blob(uri)) == old
    site.origin.put("changing", new)
    assert got(assets, assets.blob(uri)) == old
    assert got(assets, assets.blob(uri, oldest=time.time() + 3600)) == new


def test_fetches_of_one_asset_share_the_work_and_outlive_their_callers(
    site: Site, assets: Assets
) -> None:
    data = unique(100_000)
    site.origin.put("shared", data)
    site.origin.released.clear()
    uri = site.origin.uri("slow/shared")
    request = asset.FetchBlobRequest(uris=[uri])
    given_up = assets.fetch.FetchBlob.future(request, timeout=CALL_SECONDS)
    responses: list[asset.FetchBlobResponse] = []
    threads = [
        threading.Thread(target=lambda: responses.append(assets.blob(uri))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    while not site.origin.asked["slow/shared"]:
        time.sleep(0.01)
    given_up.cancel()
    site.origin.released.set()
    for thread in threads:
        thread.join()
    assert [got(assets, each) for each in responses] == [data] * 3
    assert site.origin.asked["slow/shared"] == 1


def test_a_fetch_that_takes_too_long_is_told_so(site: Site, assets: Assets) -> None:
    site.origin.put("stuck", b"stuck")
    site.origin.released.clear()
    failed(assets.blob(site.origin.uri("slow/stuck"), seconds=0.3), Code.DEADLINE_EXCEEDED)
    site.origin.released.set()


def test_an_asset_that_is_too_large_is_refused(site: Site, assets: Assets) -> None:
    uri = site.origin.put("large", bytes(3_000_001))
    assert "max_bytes" in failed(assets.blob(uri), Code.RESOURCE_EXHAUSTED)


def test_a_transfers_own_compression_is_taken_off(site: Site, assets: Assets) -> None:
    data = b"text " * 1000
    site.origin.put("text", data)
    site.origin.put("text.tar.gz", data)
    assert got(assets, assets.blob(site.origin.uri("encoded/gzip/text"))) == data
    raw = got(assets, assets.blob(site.origin.uri("encoded/gzip/text.tar.gz")))
    assert raw[:2] == b"\x1f\x8b"


def test_files_are_fetched_and_no_symlink_leads_out(site: Site, assets: Assets) -> None:
    data = unique()
    (site.files / "inner").mkdir()
    (site.files / "inner" / "file").write_bytes(data)
    (site.files / "inner" / "near").symlink_to("file")
    (site.files / "out").symlink_to("/etc/hostname")
    (site.files / "away").symlink_to("/etc")
    base = f"file://{site.files}"
    assert got(assets, assets.blob(f"{base}/inner/file")) == data
    assert got(assets, assets.blob(f"{base}/inner/near")) == data
    for path, code in {
        "out": Code.PERMISSION_DENIED,
        "away/hostname": Code.PERMISSION_DENIED,
        "inner": Code.NOT_FOUND,
        "none": Code.NOT_FOUND,
    }.items():
        failed(assets.blob(f"{base}/{path}"), code)


def test_qualifiers_that_are_not_known_are_named(site: Site, assets: Assets) -> None:
    # REAPI rule: BadRequest with field qualifiers.name and `"X" not supported` for each.
    uri = site.origin.put("qualified", b"q")
    with refused(grpc.StatusCode.INVALID_ARGUMENT) as caught:
        assets.blob(uri, having={"colour": "red", "size": "large", "vcs.branch": "main"})
    told = BadRequest()
    assert status_of(caught.value).details[0].Unpack(told)
    assert {(each.field, each.description) for each in told.field_violations} == {
        ("qualifiers.name", f'"{name}" not supported') for name in ("colour", "size", "vcs.branch")
    }


def test_requests_that_say_nothing_usable_are_refused(site: Site, assets: Assets) -> None:
    uri = site.origin.put("refused", b"r")
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    with refused(invalid, naming="uris"):
        assets.blob()
    with refused(invalid, naming="checksum.sri"):
        assets.blob(uri, having={CHECKSUM: "sha256-short"})
    with refused(invalid, naming="resource_type"):
        assets.blob(uri, having={"resource_type": "application/x-git"})
    with refused(invalid, naming="twice"):
        request = asset.FetchBlobRequest(uris=[uri])
        for _ in range(2):
            request.qualifiers.add(name="resource_type", value="text/plain")
        assets.fetch.FetchBlob(request, timeout=CALL_SECONDS)
    with refused(grpc.StatusCode.NOT_FOUND, naming="instance_name"):
        assets.blob(uri, instance="nowhere")
    with refused(invalid, naming="Host"):
        assets.blob(uri, having={"http_header:Host": "elsewhere"})


def test_credentials_are_sent_and_what_they_gave_is_not_for_others(
    site: Site, assets: Assets
) -> None:
    data = unique()
    uri = site.origin.put("private", data)
    old = {"bazel.auth_headers": f'{{"{uri}": {{"Authorization": "Basic c2VjcmV0"}}}}'}
    assert got(assets, assets.blob(uri, having=old)) == data
    assert site.origin.headers["private"]["authorization"] == "Basic c2VjcmV0"
    new = {
        "http_header:X-One": "1",
        "http_header_url:0:Authorization": "Bearer own",
        "http_header_url:1:Authorization": "Bearer others",
        "http_header:Authorization": "Bearer all",
    }
    assert got(assets, assets.blob(uri, having=new)) == data
    assert site.origin.headers["private"]["authorization"] == "Bearer own"
    assert site.origin.headers["private"]["x-one"] == "1"
    assets.blob(uri)
    assert "authorization" not in site.origin.headers["private"]
    assert site.origin.asked["private"] == 3
    log = site.served.log.read_text()
    assert "c2VjcmV0" not in log
    assert "Bearer" not in log
