"""Bazel's --experimental_remote_downloader: archives that Holdfast fetches for it."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

from tests.assets.archives import Entry, tar_of
from tests.assets.origin import origin
from tests.bazel.driver import running_bazel
from tests.serving import serving

CONTENTS = b"from far away\n"
WORKSPACE = """\
load("@bazel_tools//tools/build_defs/repo:http.bzl", "http_archive")

http_archive(
    name = "sample",
    urls = ["http://{address}/absent.tar.gz", "http://{address}/sample.tar.gz"],
    sha256 = "{sha256}",
    strip_prefix = "sample",
    build_file_content = 'genrule(name = "copy", srcs = ["file"], outs = ["o"], cmd = "cp $< $@")',
    netrc = "{netrc}",
    auth_patterns = {{"127.0.0.1": "Bearer <password>"}},
)
"""


def test_bazel_has_an_archive_fetched_with_its_checksum_and_credentials(
    tmp_path: Path, rc: Path
) -> None:
    archive = gzip.compress(tar_of([Entry("sample/file", CONTENTS)]))
    workspace, netrc = tmp_path / "workspace", tmp_path / "netrc"
    workspace.mkdir()
    netrc.write_text("machine 127.0.0.1\nlogin nobody\npassword word\n")
    with origin(tmp_path) as server:
        server.put("sample.tar.gz", archive)
        (workspace / "WORKSPACE").write_text(
            WORKSPACE.format(
                address=server.address,
                sha256=hashlib.sha256(archive).hexdigest(),
                netrc=netrc,
            )
        )
        settings = f'worker.enabled = false\nassets.allow_private = ["http://{server.address}/**"]'
        with (
            serving(tmp_path / "served", settings) as served,
            running_bazel(workspace, tmp_path / "output_base", rc=rc) as bazel,
        ):
            remote = f"grpc://{served.grpc}"
            build = bazel.build(
                "@sample//:copy",
                f"--remote_cache={remote}",
                f"--experimental_remote_downloader={remote}",
            )
            built = workspace / "bazel-out/k8-fastbuild/bin/external/sample/o"
            assert build.status == 0, build.output
            assert built.read_bytes() == CONTENTS
    assert server.asked == {"absent.tar.gz": 1, "sample.tar.gz": 1}
    for headers in server.headers.values():
        assert headers["user-agent"] == "Holdfast"
        assert headers["authorization"] == "Bearer word"
