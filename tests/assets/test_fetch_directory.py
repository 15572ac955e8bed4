from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable

import grpc
import zstandard
from google.rpc.code_pb2 import Code

from protos import remote_asset_pb2 as asset
from tests.assets.archives import SAMPLE, tar_of, zip_of
from tests.assets.asking import Assets, sri
from tests.assets.conftest import Site
from tests.assets.test_fetch_blob import failed
from tests.protocol.peer import refused

FORMS: dict[str, Callable[[], bytes]] = {
    "tar": lambda: tar_of(SAMPLE),
    "tar.gz": lambda: gzip.compress(tar_of(SAMPLE)),
    "tar.bz2": lambda: bz2.compress(tar_of(SAMPLE)),
    "tar.xz": lambda: lzma.compress(tar_of(SAMPLE)),
    "tar.zst": lambda: zstandard.compress(tar_of(SAMPLE)),
    "zip": lambda: zip_of(SAMPLE),
}
EXPECTED = {
    "top/readme": "hello",
    "top/bin/run": "#!/bin/sh\n*",
    "top/bin/link": "-> ../readme",
    "top/empty": "/",
}


def got(assets: Assets, response: asset.FetchDirectoryResponse) -> dict[str, str]:
    assert response.status.code == Code.OK, response
    return assets.files(response.root_directory_digest)


def test_every_form_of_archive_gives_one_tree(site: Site, assets: Assets) -> None:
    roots = set()
    for form, made in FORMS.items():
        uri = site.origin.put(f"sample.{form}", made())
        response = assets.directory(uri)
        assert got(assets, response) == EXPECTED, form
        roots.add(response.root_directory_digest.hash)
        assert assets.directory(uri).root_directory_digest == response.root_directory_digest
        assert site.origin.asked[f"sample.{form}"] == 1
    assert len(roots) == 1


def test_the_archive_itself_is_known_as_a_blob_then(site: Site, assets: Assets) -> None:
    data = tar_of(SAMPLE, salt="blob")
    uri = site.origin.put("both.tar", data)
    checksum = {"checksum.sri": sri(data, "sha384")}
    got(assets, assets.directory(uri, having=checksum))
    assert assets.blob(uri, having=checksum).blob_digest == assets.peer.digest(data)
    assert site.origin.asked["both.tar"] == 1


def test_a_directory_of_an_archive_can_be_chosen(site: Site, assets: Assets) -> None:
    uri = site.origin.put("chosen.tar", tar_of(SAMPLE))
    assert got(assets, assets.directory(uri, having={"directory": "top/empty"})) == {}
    failed(assets.directory(uri, having={"directory": "top/none"}), Code.NOT_FOUND)
    failed(assets.directory(uri, having={"directory": "top/readme"}), Code.NOT_FOUND)
    # In the whole archive the link stays inside; in that directory it does not.
    assert "leaves" in failed(assets.directory(uri, having={"directory": "top/bin"}), Code.ABORTED)
    for path in ("", "/top", "top/", "../top", "top/./bin"):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="directory"):
            assets.directory(uri, having={"directory": path})


def test_what_is_no_archive_and_what_is_another_are_refused(site: Site, assets: Assets) -> None:
    uri = site.origin.put("text", b"no archive at all" * 100)
    assert "archive" in failed(assets.directory(uri), Code.ABORTED)
    wrong = {"checksum.sri": sri(b"something else")}
    assert "checksum" in failed(assets.directory(uri, having=wrong), Code.ABORTED)
