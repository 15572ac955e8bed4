from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cas.digest import Digest, DigestFunction
from tests.re_cli.command import Holdfast

ABSENT = f"{'a' * 64}/5"


def test_a_file_that_is_put_can_be_got_to_stdout_and_to_a_path(
    holdfast: Holdfast, tmp_path: Path
) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(data)
    digest = holdfast.put(tmp_path / "file")
    assert digest == str(Digest.of(data))
    assert holdfast("get", digest).stdout == data
    done = holdfast("get", digest, "-o", tmp_path / "new" / "copy")
    assert (done.status, done.stdout) == (0, b"")
    assert (tmp_path / "new" / "copy").read_bytes() == data


@pytest.mark.parametrize("function", list(DigestFunction))
def test_every_digest_function_is_served(
    holdfast: Holdfast, tmp_path: Path, function: DigestFunction
) -> None:
    (tmp_path / "file").write_bytes(b"named by a function")
    digest = holdfast.put(tmp_path / "file", "--digest-function", function.value)
    assert digest == str(Digest.of(b"named by a function", function))
    got = holdfast("get", "--digest-function", function.value, digest)
    assert got.stdout == b"named by a function"


def test_a_folder_that_is_put_can_be_made_again(holdfast: Holdfast, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "run").write_text("#!/bin/sh\n")
    (source / "sub" / "run").chmod(0o755)
    (source / "sub" / "link").symlink_to("run")
    (source / "empty").touch()
    digest = holdfast.put(source)
    target = tmp_path / "target"
    assert holdfast("get", "--tree", digest, "-o", target).status == 0
    assert (target / "sub" / "run").read_text() == "#!/bin/sh\n"
    assert os.access(target / "sub" / "run", os.X_OK)
    assert (target / "sub" / "link").readlink() == Path("run")
    assert (target / "empty").read_bytes() == b""
    assert holdfast.put(target) == digest

    again = holdfast("get", "--tree", digest, "-o", target)
    assert again.status == 1
    assert "is there already" in again.stderr


def test_put_tells_a_program_what_it_sent(holdfast: Holdfast, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"one of two")
    (tmp_path / "two").mkdir()
    done = holdfast("put", "--json", tmp_path / "one", tmp_path / "two").json()
    assert done["blobs"] == [
        {
            "path": str(tmp_path / "one"),
            "digest": str(Digest.of(b"one of two")),
            "kind": "file",
        },
        {"path": str(tmp_path / "two"), "digest": str(Digest.of(b"")), "kind": "tree"},
    ]
    assert done["uploaded"] == {"blobs": 1, "bytes": 10}
    again = holdfast("put", "--json", tmp_path / "one").json()
    assert again["uploaded"] == {"blobs": 0, "bytes": 0}


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("get", ABSENT), 1, f"blob {ABSENT} is not in the store"),
        (("get", "--tree", ABSENT), 2, "say where with -o PATH"),
        (("get", "abc"), 2, "write HASH/SIZE"),
        (("get", "abc/5"), 2, "64 lowercase hexadecimal characters"),
        (("get", "--tree", ABSENT, "-o", "new"), 1, ABSENT),
        (("put", "absent"), 2, "does not exist"),
        (("put", "--instance", "a/blobs", "/etc/hostname"), 1, "instance_name 'a/blobs'"),
        (("get", "--server", "grpc://127.0.0.1:1", ABSENT), 3, "127.0.0.1:1 cannot be reached"),
        (("get", "--server", "https://x", ABSENT), 2, "grpcs://HOST:PORT with TLS"),
        (("get", "--digest-function", "md5", ABSENT), 2, "md5"),
    ],
)
def test_an_error_is_one_line_that_says_what_and_a_status(
    holdfast: Holdfast, tmp_path: Path, arguments: tuple[str, ...], status: int, told: str
) -> None:
    done = holdfast(*arguments, cwd=tmp_path)
    assert done.status == status
    assert told in done.stderr
    assert done.stdout == b""
    if status != 2:
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("holdfast: ")


def test_garbage_is_collected_when_asked_for(holdfast: Holdfast, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(200_000))
    digest = holdfast.put(tmp_path / "file")
    time.sleep(1.1)  # leases end with a whole second, and the upload's must have ended
    done = holdfast("gc", "--to", "0")
    assert done.status == 0
    assert "evicted" in done.text
    assert holdfast("get", digest).status == 1
    told = holdfast("gc", "--json", "--to", "10M").json()
    assert told["evicted_blobs"] == 0
    wrong = holdfast("gc", "--to", "5x")
    assert wrong.status == 2
    assert "write 500000, 500M or 20G" in wrong.stderr
