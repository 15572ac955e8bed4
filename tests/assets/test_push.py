from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.code_pb2 import Code

from protos import remote_asset_pb2 as asset, remote_execution_pb2 as reapi
from tests.assets.asking import Assets, assets_of, qualifiers_of
from tests.assets.conftest import Site
from tests.assets.test_fetch_blob import failed, got
from tests.protocol.blobs import unique
from tests.protocol.peer import CALL_SECONDS, connected, missing_subjects, refused, status_of
from tests.protocol.results import encoded
from tests.serving import serving

FOR_EVER = 4_000_000_000


def urn() -> str:
    return f"urn:holdfast:test:{unique(8).hex()}"


def test_what_is_pushed_is_fetched_by_any_of_its_uris(assets: Assets) -> None:
    data, uris = unique(), [urn(), urn()]
    assets.push_blob(assets.peer.put_one(data), *uris)
    for uri in uris:
        response = assets.blob(urn(), uri)
        assert got(assets, response) == data
        assert response.uri == uri


def test_qualifiers_have_to_be_those_of_the_push_in_any_order(assets: Assets) -> None:
    # REAPI rule: servers may require an exact match of all qualifiers. What was pushed may have
    # names that mean nothing to the server.
    data, uri = unique(), urn()
    both = {"colour": "red", "resource_type": "text/plain"}
    assets.push_blob(assets.peer.put_one(data), uri, having=both)
    reversed_order = dict(reversed(both.items()))
    assert got(assets, assets.blob(uri, having=reversed_order)) == data
    failed(assets.blob(uri), Code.NOT_FOUND)
    failed(assets.blob(uri, having={"resource_type": "text/plain"}), Code.NOT_FOUND)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="colour"):
        assets.blob(uri, having={"colour": "blue"})


def test_a_later_push_replaces_an_earlier_one(assets: Assets) -> None:
    first, second, uri = unique(), unique(), urn()
    assets.push_blob(assets.peer.put_one(first), uri)
    assets.push_blob(assets.peer.put_one(second), uri)
    assert got(assets, assets.blob(uri)) == second


def test_what_has_expired_or_is_too_old_is_not_answered(assets: Assets) -> None:
    # REAPI rule: Push's expire_at is respected and can be altered by another push.
    digest, uri = assets.peer.put_one(unique()), urn()
    soon = int(time.time()) + 600
    assets.push_blob(digest, uri, expires=soon)
    assert assets.blob(uri).expires_at.seconds == soon
    failed(assets.blob(uri, oldest=time.time() + 60), Code.NOT_FOUND)
    assets.push_blob(digest, uri, expires=FOR_EVER)
    assert assets.blob(uri).expires_at.seconds > soon
    assets.push_blob(digest, uri, expires=int(time.time()) - 1)
    failed(assets.blob(uri), Code.NOT_FOUND)


def test_a_push_wins_over_the_origin_and_kinds_are_apart(site: Site, assets: Assets) -> None:
    data = unique()
    uri = site.origin.put("pushed", b"the origin's")
    assets.push_blob(assets.peer.put_one(data), uri)
    assert got(assets, assets.blob(uri)) == data
    failed(assets.directory(uri), Code.ABORTED)
    failed(assets.blob(uri.replace("pushed", "absent")), Code.NOT_FOUND)


def test_instances_do_not_share_what_was_pushed(assets: Assets) -> None:
    uri = urn()
    assets.push_blob(assets.peer.put_one(unique()), uri)
    failed(assets.blob(uri, instance="other"), Code.NOT_FOUND)


def push_directory(
    assets: Assets,
    uri: str,
    root: reapi.Digest,
    *,
    blobs: Sequence[reapi.Digest] = (),
    directories: Sequence[reapi.Digest] = (),
) -> None:
    request = asset.PushDirectoryRequest(
        uris=[uri],
        root_directory_digest=root,
        references_blobs=blobs,
        references_directories=directories,
    )
    assets.push.PushDirectory(request, timeout=CALL_SECONDS)


def test_a_directory_is_pushed_with_all_that_is_in_it(assets: Assets) -> None:
    file = assets.peer.put_one(b"in a folder")
    leaf = reapi.Directory(files=[reapi.FileNode(name="f", digest=file)])
    root = reapi.Directory(
        directories=[reapi.DirectoryNode(name="d", digest=assets.peer.digest(encoded(leaf)))]
    )
    uri = urn()
    assets.peer.put(encoded(leaf), encoded(root))
    push_directory(assets, uri, assets.peer.digest(encoded(root)))
    response = assets.directory(uri)
    assert assets.files(response.root_directory_digest) == {"d/f": "in a folder"}


def test_what_is_not_in_the_store_cannot_be_pushed(assets: Assets) -> None:
    # REAPI rule: content is in the CAS prior to pushing; what is missing is named.
    absent, there = assets.peer.digest(unique()), assets.peer.put_one(unique())
    hollow = reapi.Directory(files=[reapi.FileNode(name="f", digest=absent)])
    root = assets.peer.put_one(encoded(hollow))
    subject = f"blobs/{absent.hash}/{absent.size_bytes}"
    empty = assets.peer.digest(b"")
    pushes: list[Callable[[], None]] = [
        lambda: assets.push_blob(absent, urn()),
        lambda: push_directory(assets, urn(), root),
        lambda: push_directory(assets, urn(), empty, blobs=[there, absent]),
        lambda: push_directory(assets, urn(), empty, directories=[root]),
    ]
    for push in pushes:
        with refused(grpc.StatusCode.FAILED_PRECONDITION) as caught:
            push()
        assert missing_subjects(status_of(caught.value)) == {subject}


def test_pushes_that_say_nothing_usable_are_refused(assets: Assets) -> None:
    there = assets.peer.put_one(unique())
    for request, named in (
        (asset.PushBlobRequest(blob_digest=there), "uris"),
        (asset.PushBlobRequest(blob_digest=there, uris=[""]), "uris[0]"),
        (asset.PushBlobRequest(uris=[urn()]), "blob_digest"),
        (asset.PushBlobRequest(uris=[urn()], blob_digest=reapi.Digest(hash="x")), "blob_digest"),
        (
            asset.PushBlobRequest(
                uris=[urn()], blob_digest=there, qualifiers=[*qualifiers_of({"a": "1"})] * 2
            ),
            "twice",
        ),
        (
            asset.PushBlobRequest(uris=[urn()], blob_digest=there, expire_at=Timestamp(seconds=-5)),
            "expire_at",
        ),
    ):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, naming=named):
            assets.push.PushBlob(request, timeout=CALL_SECONDS)
    file = assets.peer.put_one(b"\xff\xffno Directory")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="Directory"):
        push_directory(assets, urn(), file)


def test_what_was_pushed_is_there_after_the_server_was_killed(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:

    folder, uri, data = tmp_path_factory.mktemp("killed"), urn(), unique()
    with serving(folder) as served, connected(served.grpc) as peer:
        assets = assets_of(peer)
        assets.push_blob(peer.put_one(data), uri)
        served.kill()
    (folder / "store" / "fetching" / "left").write_bytes(b"by the killed one")
    with serving(folder) as served, connected(served.grpc) as peer:
        assert got(assets_of(peer), assets_of(peer).blob(uri)) == data
        assert list((folder / "store" / "fetching").iterdir()) == []


def test_assets_are_not_served_where_that_is_switched_off(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:

    with (
        serving(tmp_path_factory.mktemp("off"), "assets.enabled = false") as served,
        connected(served.grpc) as peer,
        refused(grpc.StatusCode.UNIMPLEMENTED),
    ):
        assets_of(peer).blob(urn())
