from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from assets.index import AssetIndex, AssetName, Kind, Known
from cas.digest import Digest, DigestFunction
from tests.cas.disks import opened

KNOWN = Known(
    Digest.of(b"a"),
    1000.5,
    2000.25,
    "commit",
    (Digest.of(b"b"),),
    (Digest.of(b"c", DigestFunction.BLAKE3),),
)


def name(uri: str, *stated: tuple[str, str], kind: Kind = Kind.BLOB) -> AssetName:
    return AssetName(kind, "", DigestFunction.SHA256, uri, stated)


async def test_what_is_put_is_found_under_each_name_and_no_other(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        index = AssetIndex(store.environment, most=10)
        await index.put([name("u"), name("v", ("a", "b"))], KNOWN, now=1)
        assert index.find(name("u")) == index.find(name("v", ("a", "b"))) == KNOWN
        for other in (
            name("w"),
            name("v"),
            name("u", ("a", "b")),
            name("u", kind=Kind.DIRECTORY),
            replace(name("u"), instance="other"),
            replace(name("u"), function=DigestFunction.BLAKE3),
        ):
            assert index.find(other) is None


async def test_the_oldest_are_forgotten_and_what_is_put_again_is_new(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        index = AssetIndex(store.environment, most=3)
        for moment, uri in enumerate("abcad"):
            await index.put([name(uri)], KNOWN, now=moment)
        assert [uri for uri in "abcd" if index.find(name(uri))] == ["a", "c", "d"]
        assert index.count() == 3


async def test_neither_names_nor_qualifiers_are_written_as_they_are(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        index = AssetIndex(store.environment, most=10)
        secret = "https://h/x?token=secrecy"
        await index.put([name(secret, ("checksum.sri", "secrecy"))], KNOWN, now=1)
    assert b"secrecy" not in (tmp_path / "index" / "data.mdb").read_bytes()
