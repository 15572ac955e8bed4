from __future__ import annotations

import base64
import hashlib
import os
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from determinism.guards import SEARCHED_BYTES, Search, traces
from tests.determinism.made import run, written

FILE = b"the bytes that somebody took the digest of\n"
MANY = 30  # with so many files another way of searching is taken


def searches() -> list[Search]:
    """Return a search for FILE, and one for FILE among many: FILE has index 0 in both."""
    many = [traces(FILE), *(traces(b"other %d" % number) for number in range(MANY))]
    return [Search(many[:1]), Search(many)]


@pytest.mark.parametrize("program", ["md5sum", "sha1sum", "sha256sum", "sha512sum"])
def test_what_checksum_programs_print_is_found(tmp_path: Path, program: str) -> None:
    written(tmp_path / "file", FILE)
    printed = run(program, "file", cwd=tmp_path)
    for search in searches():
        assert search.found(printed) == {0}
        assert search.found(printed.upper()) == {0}


HASHES = ["md5", "sha1", "sha256", "sha512"]


@pytest.mark.parametrize("hash", HASHES)
@pytest.mark.parametrize(
    "place", [b"%b", b"sha-%b", b'{"d":"%b"}', b"a/b/%b", b"\xff%b\0", b"x=%b==\n", b"sha256:%b,"]
)
def test_a_digest_is_found_in_hexadecimal_in_base64_and_raw(hash: str, place: bytes) -> None:
    raw = hashlib.new(hash, FILE).digest()
    forms = [raw.hex().encode(), base64.b64encode(raw), base64.urlsafe_b64encode(raw)]
    for search in searches():
        for form in (*forms, *(form.rstrip(b"=") for form in forms)):
            assert search.found(b"before " + place % form + b" behind") == {0}
        assert search.found(b"\xff" + raw) == {0}


def test_a_crc_is_found_in_hexadecimal_alone() -> None:
    crc = zlib.crc32(FILE)
    for search in searches():
        assert search.found(b"CRC %08x\n" % crc) == search.found(b"%08X" % crc) == {0}
        assert search.found(crc.to_bytes(4, "big") + b"\xff") == set()


def test_an_id_that_the_file_carries_is_found_like_a_digest() -> None:
    build_id = bytes.fromhex("fb5d8df5a0e7dc21")
    search = Search([traces(FILE, [build_id])])
    assert search.found(b"build-id fb5d8df5a0e7dc21\n") == {0}
    assert search.found(b"\x7fELF" + build_id + b"\xff") == {0}


def test_other_texts_hold_nothing() -> None:
    texts = [b"", FILE, b"0123456789abcdef" * 8, os.urandom(100_000), base64.b64encode(FILE * 99)]
    for search in searches():
        assert [search.found(text) for text in texts] == [set()] * len(texts)


def test_each_file_is_told_by_its_index() -> None:
    files = [b"file %d" % number for number in range(MANY)]
    text = b"\n".join(hashlib.sha256(file).hexdigest().encode() for file in files[::3])
    assert Search([traces(file) for file in files]).found(text) == set(range(0, MANY, 3))


def test_what_is_behind_the_bound_is_not_searched() -> None:
    digest = hashlib.sha256(FILE).hexdigest().encode()
    for search in searches():
        assert search.found(b" " * (SEARCHED_BYTES - 64) + digest) == {0}
        assert search.found(b" " * SEARCHED_BYTES + digest) == set()


@settings(max_examples=30, deadline=None, database=None)
@given(
    at=strategies.integers((1 << 20) - 200, (1 << 20) + 200),
    hash=strategies.sampled_from(HASHES),
    raw=strategies.booleans(),
)
def test_a_digest_is_found_wherever_it_stands(at: int, hash: str, *, raw: bool) -> None:
    digest = hashlib.new(hash, FILE).digest()
    text = b"." * at + (digest if raw else digest.hex().encode()) + b"\xff"
    assert all(search.found(text) == {0} for search in searches())
