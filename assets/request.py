"""What is asked for, and what is answered."""

from __future__ import annotations

from dataclasses import dataclass

from assets.index import AssetName, Kind
from assets.qualifiers import Qualifiers
from cas.digest import Digest, DigestFunction


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request for an asset.

    uris: places of the same asset; none for a blob that is to be in the store. seconds: bound on
    the fetch. oldest: seconds since 1970; what was pushed or fetched before is not wanted.
    """

    kind: Kind
    instance: str
    function: DigestFunction
    uris: tuple[str, ...]
    qualifiers: Qualifiers
    seconds: float
    oldest: float = 0

    def name(self, uri: str) -> AssetName:
        return AssetName(self.kind, self.instance, self.function, uri, self.qualifiers.stated)


@dataclass(frozen=True, slots=True)
class Had:
    """An asset, all of it there and leased.

    uri: where it is from. expires: until when it is there and valid at least, in seconds since
    1970. commit: of a revision, or "".
    """

    uri: str
    digest: Digest
    expires: float
    commit: str = ""
