"""Assets: what clients say of them, and the archives that strangers made."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import zstandard

from assets.archive import unpack
from assets.fault import OriginFault, OriginRefused
from assets.limits import UnpackLimits
from assets.origins import Origins, Place
from assets.qualifiers import Qualifiers
from assets.tree_builder import TreeBuilder
from cas.digest import DigestFunction
from cas.folder import Blobs, encode
from cas.tree import parse_directory
from fuzz.target import Target
from protos import remote_asset_pb2 as asset

FOLDER = Path("/srv/assets")
ORIGINS = Origins.parse([f"file://{FOLDER}/**", "https://*.example.org/releases/**"], [])
LIMITS = UnpackLimits(entries=100, bytes=4 << 20, ratio=100)
SHA256 = DigestFunction.SHA256
ENDS = b"\r\n\0"  # of a header: whoever could put one in could send headers of his own


def asset_uri(data: bytes) -> None:
    place = Place.parse(data.decode(errors="replace"))
    for segment in place.segments:
        assert segment not in {".", ".."}
        assert not set(segment) & set("/\\\0")
    assert not place.url.user
    assert not place.url.password
    again = Place.parse(str(place.url))  # as it is remembered, and asked for
    assert again.segments == place.segments
    assert (again.url.host, again.url.port) == (place.url.host, place.url.port)
    try:
        ORIGINS.reach(place)
    except OriginRefused:
        return
    if place.url.scheme == "file":
        assert place.path.is_relative_to(FOLDER)
    else:
        assert place.url.scheme == "https"
        assert (place.url.host or "").endswith(".example.org")


def _uris() -> Iterator[bytes]:
    yield b"https://dl.example.org/releases/1.2/a%20b.tar.gz?x=%2F#part"
    yield b"https://DL.example.org:443/releases/../a"
    yield b"http://[::1]:80/a"
    yield b"https://user:secret@b\xc3\xbccher.example.org/"
    yield b"file:///srv/assets/a/b%2e%2e/c"


def asset_qualifiers(data: bytes) -> None:
    request = asset.FetchBlobRequest.FromString(data)
    qualifiers = Qualifiers.parse((each.name, each.value) for each in request.qualifiers)
    for place, uri in enumerate(request.uris):
        for name, value in qualifiers.headers_for(place, uri).items():
            assert not set(ENDS) & {*name.encode("latin-1"), *value.encode("latin-1")}
    integrity = qualifiers.integrity
    if integrity is not None:
        assert {len(hash) for hash in integrity.hashes} == {len(integrity.hasher().digest())}


def _qualifiers() -> Iterator[bytes]:
    uri = "https://dl.example.org/releases/a"
    for pairs in (
        {"checksum.sri": "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},
        {"checksum.sri": "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk= md5-1B2M2Y8AsgTpgAmY7PhCfg==?x"},
        {"http_header:Accept": "a", "http_header_url:0:X-Token": "b", "bazel.canonical_id": "c"},
        {"bazel.auth_headers": f'{{"{uri}": {{"Authorization": ["d", "e"], "X": "f"}}}}'},
        {"vcs.branch": "main", "directory": "a/b", "resource_type": "application/x-git"},
    ):
        request = asset.FetchBlobRequest(uris=[uri])
        for name, value in pairs.items():
            request.qualifiers.add(name=name, value=value)
        yield request.SerializeToString()


def archive(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        path, contents = Path(name) / "archive", Path(name) / "contents"
        path.write_bytes(data)
        contents.mkdir()
        tree = TreeBuilder(contents, SHA256, LIMITS)
        try:
            unpack(path, tree, Path(name) / "spare", LIMITS)
            folder = tree.tree()
        except OriginFault:
            return
        directories: Blobs = {}
        encode(folder, SHA256, directories)
        for digest, directory in directories.items():
            assert isinstance(directory, bytes)
            parse_directory(directory, digest)
        assert set(folder.files()) <= tree.blobs.keys()


COMPRESSORS: tuple[Callable[[bytes], bytes], ...] = (
    gzip.compress,
    bz2.compress,
    lzma.compress,
    zstandard.ZstdCompressor().compress,
)


def _archives() -> Iterator[bytes]:
    for layout in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        yield _tar(layout)
    yield from (compress(_tar(tarfile.GNU_FORMAT)) for compress in COMPRESSORS)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        yield _zip(method)


def _tar(layout: int) -> bytes:
    file, long = io.BytesIO(), 5 if layout == tarfile.USTAR_FORMAT else 70
    with tarfile.open(fileobj=file, mode="w", format=layout) as made:
        for kind, target in (
            (tarfile.DIRTYPE, ""),
            (tarfile.SYMTYPE, "../d/f"),
            (tarfile.REGTYPE, ""),
            (tarfile.LNKTYPE, "d/2"),
        ):
            member = tarfile.TarInfo(f"d/{kind.decode()}" + "é" * long * (kind == tarfile.SYMTYPE))
            member.type, member.linkname, member.mode = kind, target, 0o755
            member.size = 5 if kind == tarfile.REGTYPE else 0
            made.addfile(member, io.BytesIO(b"hello") if member.size else None)
    return file.getvalue().rstrip(b"\0") + bytes(1024)


def _zip(method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for name, mode, text in (
            ("d/", 0o40755, ""),
            ("d/f", 0o100755, "hi"),
            ("l", 0o120777, "d"),
        ):
            member = zipfile.ZipInfo(name)
            member.create_system, member.external_attr = 3, mode << 16
            made.writestr(member, text, compress_type=method)
    return file.getvalue()


TARGETS = {
    "asset_uri": Target(asset_uri, _uris, max_bytes=300),
    "asset_qualifiers": Target(asset_qualifiers, _qualifiers),
    "archive": Target(archive, _archives, max_bytes=8192),
}
