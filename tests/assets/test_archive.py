"""Archives that strangers make."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from assets.archive import MAX_HEADER_BYTES, unpack
from assets.fault import AssetTooLarge, ContentMismatch, OriginFault
from assets.limits import UnpackLimits
from assets.tree_builder import FetchEnded, TreeBuilder
from cas.digest import Digest, DigestFunction
from cas.folder import File, Folder, encode
from tests.assets.archives import SAMPLE, Entry, folder, link, tar_of, zip_of

LIMITS = UnpackLimits(entries=100, bytes=1_000_000, ratio=10)
MIB = 1 << 20


class Unpacking:
    """Unpacks archives into one folder, each into a place of its own."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._count = 0

    def __call__(
        self,
        archive: bytes,
        *,
        limits: UnpackLimits = LIMITS,
        ended: Callable[[], bool] = lambda: False,
        directory: str = "",
    ) -> Folder:
        self._count += 1
        place = self._place / str(self._count)
        place.mkdir()
        (place / "archive").write_bytes(archive)
        tree = TreeBuilder(place, DigestFunction.SHA256, limits, ended)
        unpack(place / "archive", tree, place / "spare", limits, ended)
        return tree.tree(directory)


@pytest.fixture
def unpacked(tmp_path: Path) -> Unpacking:
    return Unpacking(tmp_path)


def root(folder: Folder) -> Digest:
    return encode(folder, DigestFunction.SHA256, {})


def test_owners_times_and_order_change_nothing(unpacked: Unpacking) -> None:
    made = [
        tar_of(SAMPLE),
        tar_of(reversed(SAMPLE), salt="someone", owner=0, time=1_700_000_000),
        tar_of([Entry(f"./{entry.name}", *_rest(entry)) for entry in SAMPLE]),
        gzip.compress(tar_of(SAMPLE), mtime=5),
        zip_of(SAMPLE),
    ]
    assert len({root(unpacked(archive)) for archive in made}) == 1


@pytest.mark.parametrize("function", DigestFunction)
def test_files_are_named_in_every_function(tmp_path: Path, function: DigestFunction) -> None:
    # Git's hashes the size first, which is known only once a file has been unpacked.
    contents = [b"", b"small", b"large " * 20_000]
    entries = [Entry(str(number), data) for number, data in enumerate(contents)]
    (tmp_path / "archive").write_bytes(tar_of(entries))
    tree = TreeBuilder(tmp_path, function, LIMITS)
    unpack(tmp_path / "archive", tree, tmp_path / "spare", LIMITS, lambda: False)
    assert [file.digest for file in tree.tree("").entries.values() if isinstance(file, File)] == [
        Digest.of(data, function) for data in contents
    ]


def _rest(entry: Entry) -> tuple[bytes, str, bool, bytes]:
    return entry.contents, entry.target, entry.executable, entry.kind


HOSTILE: dict[str, tuple[Entry, ...]] = {
    "absolute": (Entry("/etc/passwd"),),
    "upwards": (Entry("a/../../b"),),
    "upwards and back": (Entry("a/../b"),),
    "twice": (Entry("a", b"1"), Entry("a", b"2")),
    "a file and a directory": (Entry("a"), Entry("a/b")),
    "through a link": (link("a", "."), Entry("a/b")),
    "link to nowhere absolute": (link("a", "/etc/passwd"),),
    "link upwards": (link("a/b", "../../c"),),
    "link by way of a link": (link("x/y/up", ".."), link("out", "x/y/up/../..")),
    "link of links": (link("a", "b/.."), link("b", "c"), link("c", "../d")),
    "pipe": (Entry("a", kind=tarfile.FIFOTYPE),),
    "long name": (Entry("n" * 256),),
    "deep": (Entry("d/" * 300 + "f"),),
    "nameless": (Entry("."),),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("made", [tar_of, zip_of], ids=["tar", "zip"])
def test_what_would_leave_the_tree_or_is_no_tree_is_refused(
    unpacked: Unpacking, made: Callable[[tuple[Entry, ...]], bytes], name: str
) -> None:
    if name == "twice" and made is zip_of:
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive = made(HOSTILE[name])
    else:
        archive = made(HOSTILE[name])
    with pytest.raises(ContentMismatch):
        unpacked(archive)


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_devices_are_refused(unpacked: Unpacking, kind: bytes) -> None:
    with pytest.raises(ContentMismatch):
        unpacked(tar_of([Entry("a", kind=kind)]))


def test_links_that_stay_inside_are_kept_though_they_lead_nowhere(unpacked: Unpacking) -> None:
    links = [link("a/b", "../c/d"), link("c", "a"), link("loop", "loop"), link("x", "a/../y")]
    assert unpacked(tar_of(links)).entries.keys() == {"a", "c", "loop", "x"}


def test_a_hard_link_is_the_file_that_it_names(unpacked: Unpacking) -> None:
    linked = Entry("b/second", target="a/first", kind=tarfile.LNKTYPE)
    tree = unpacked(tar_of([Entry("a/first", b"same", executable=True), linked]))
    below = tree.entries["b"]
    assert isinstance(below, Folder)
    assert below.entries["second"] == File(Digest.of(b"same"), executable=True)
    with pytest.raises(ContentMismatch, match="hard link"):
        unpacked(tar_of([linked]))


def test_names_that_are_not_utf8_are_refused(unpacked: Unpacking) -> None:
    made = tar_of([Entry("ab")], salt="x").replace(b"ab\0", b"\xff\xfe\0", 1)
    header = bytearray(made[:512])
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    with pytest.raises(ContentMismatch, match="UTF-8"):
        unpacked(bytes(header) + made[512:])


def test_a_zips_names_are_utf8_where_it_says_so_and_where_it_does_not(unpacked: Unpacking) -> None:
    flagged = zip_of([Entry("grün", b"1")])
    assert unpacked(flagged).entries.keys() == {"grün"}
    # Bit 11 of the flags, in the entry's own header and in the directory.
    silent = bytearray(flagged)
    silent[7] &= 0xF7
    silent[silent.index(b"PK\1\2") + 9] &= 0xF7
    assert unpacked(bytes(silent)).entries.keys() == {"grün"}


def test_what_is_damaged_is_refused_wherever_it_is(unpacked: Unpacking) -> None:
    entries = [Entry(f"file{number}", bytes([number]) * 3000) for number in range(5)]
    tar, zip = tar_of(entries), zip_of(entries)
    header = tar.index(b"file3")
    damaged = [
        tar[:header] + b"!" + tar[header + 1 :],
        tar[:1200],
        zip[:-30],
        zip[:36] + b"\xff" * 4 + zip[40:],
        *(pack(tar)[:-9] for pack in (gzip.compress, bz2.compress, lzma.compress)),
        zstandard.compress(tar)[:-9],
        gzip.compress(tar)[:30] + b"\xff" * 9 + gzip.compress(tar)[39:],
        b"",
        b"\x1f\x8b",
        b"PK\3\4",
    ]
    for archive in damaged:
        with pytest.raises(ContentMismatch):
            unpacked(archive)


def test_an_encrypted_zip_is_refused(unpacked: Unpacking) -> None:
    made = bytearray(zip_of([Entry("a", b"secret")]))
    made[6] |= 1
    made[made.index(b"PK\1\2") + 8] |= 1
    with pytest.raises(ContentMismatch, match="encrypted"):
        unpacked(bytes(made))


def test_bounds_hold(unpacked: Unpacking) -> None:
    many = [Entry(str(number)) for number in range(101)]
    large = [Entry(str(number), bytes(300_000)) for number in range(4)]
    for made in (tar_of, zip_of):
        for entries in (many, large):
            with pytest.raises(AssetTooLarge):
                unpacked(made(entries))
    for pack in (gzip.compress, bz2.compress, lzma.compress, zstandard.compress):
        with pytest.raises(AssetTooLarge):
            unpacked(pack(bytes(2 * MIB)))


def test_a_bomb_is_seen_by_its_ratio(unpacked: Unpacking) -> None:
    roomy = UnpackLimits(entries=10, bytes=1 << 40, ratio=10)
    with pytest.raises(AssetTooLarge, match="max_ratio"):
        unpacked(zstandard.compress(bytes(65 * MIB)), limits=roomy)
    zeros = zip_of([Entry("a", bytes(65 * MIB))])
    with pytest.raises(AssetTooLarge, match="max_ratio"):
        unpacked(zeros, limits=roomy)


def test_a_header_that_would_fill_the_memory_is_refused(unpacked: Unpacking) -> None:
    # A pax header is read as a whole, whatever it says of its size.
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, MAX_HEADER_BYTES * 2
    with pytest.raises(OriginFault):
        unpacked(info.tobuf() + bytes(info.size))


def test_a_sparse_file_counts_with_what_it_expands_to(unpacked: Unpacking) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("sparse")
        info.pax_headers = {
            "GNU.sparse.major": "0",
            "GNU.sparse.minor": "1",
            "GNU.sparse.size": str(1 << 40),
            "GNU.sparse.map": "0,0",
        }
        archive.addfile(info)
    with pytest.raises(AssetTooLarge):
        unpacked(made.getvalue())


def test_unpacking_ends_when_nobody_waits(unpacked: Unpacking) -> None:
    with pytest.raises(FetchEnded):
        unpacked(tar_of(SAMPLE), ended=lambda: True)


def test_larger_files_are_whole(unpacked: Unpacking) -> None:
    data = bytes(range(256)) * 300
    tree = unpacked(tar_of([Entry("a", data), Entry("b", data), folder("c")]))
    assert tree.entries["a"] == tree.entries["b"] == File(Digest.of(data), executable=False)


def test_an_unknown_compression_of_a_zip_is_refused(unpacked: Unpacking) -> None:
    made = bytearray(zip_of([Entry("a", b"b")]))
    made[8] = 97
    made[made.index(b"PK\1\2") + 10] = 97
    assert zipfile.is_zipfile(io.BytesIO(bytes(made)))
    with pytest.raises(ContentMismatch):
        unpacked(bytes(made))
