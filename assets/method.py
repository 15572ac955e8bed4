"""How an asset is to be had from its origin: settled by its qualifiers and its first URI."""

from __future__ import annotations

from dataclasses import dataclass

from assets.git import Revision
from assets.index import Kind
from assets.integrity import Integrity
from assets.qualifiers import (
    BRANCH,
    CANONICAL_ID,
    CHECKSUM,
    COMMIT,
    DIRECTORY,
    RESOURCE_TYPE,
    InvalidQualifier,
)
from assets.request import Wanted

GIT_TYPE = "application/x-git"
GIT_SUFFIX = ".git"
_OF_BLOBS = frozenset({CHECKSUM, CANONICAL_ID, RESOURCE_TYPE})
_OF_ARCHIVES = _OF_BLOBS | {DIRECTORY}
_OF_REVISIONS = frozenset({BRANCH, COMMIT, CANONICAL_ID, RESOURCE_TYPE, DIRECTORY})


@dataclass(frozen=True, slots=True)
class Method:
    """revision: of a git repository; None where the asset is one file, or an archive.

    directory: the part that is wanted of what is unpacked, "" for all.
    """

    integrity: Integrity | None = None
    revision: Revision | None = None
    directory: str = ""

    @property
    def is_fixed(self) -> bool:
        """Whether it can only ever give one and the same asset."""
        return self.integrity is not None or (self.revision is not None and self.revision.is_fixed)


def method_of(wanted: Wanted) -> Method:
    """Settle how to fetch; raise UnsupportedQualifiers or InvalidQualifier.

    Source: remote_asset.proto, service Fetch: what is fetched matches all qualifiers. A media type
    tells what to do with the bytes, and is not compared with what the origin says.
    """
    qualifiers = wanted.qualifiers
    if wanted.kind is Kind.BLOB:
        qualifiers.check_supported(_OF_BLOBS)
        if qualifiers.get(RESOURCE_TYPE) == GIT_TYPE:
            raise InvalidQualifier(f"{RESOURCE_TYPE} {GIT_TYPE}: use FetchDirectory")
        return Method(qualifiers.integrity)
    directory = _directory(qualifiers.get(DIRECTORY))
    if not _is_repository(wanted):
        qualifiers.check_supported(_OF_ARCHIVES)
        return Method(qualifiers.integrity, directory=directory)
    qualifiers.check_supported(_OF_REVISIONS)
    revision = Revision(qualifiers.get(BRANCH) or "", qualifiers.get(COMMIT) or "")
    if not revision.is_sound:
        raise InvalidQualifier(f"{BRANCH}, {COMMIT}: must be the name of a branch and of a commit")
    return Method(revision=revision, directory=directory)


def _is_repository(wanted: Wanted) -> bool:
    said = wanted.qualifiers.get(RESOURCE_TYPE)
    asked = {name for name, _ in wanted.qualifiers.stated} & {BRANCH, COMMIT}
    if said is not None or asked:
        if asked and said not in {None, GIT_TYPE}:
            raise InvalidQualifier(f"{RESOURCE_TYPE} {said!r}: has no {' or '.join(sorted(asked))}")
        return said in {None, GIT_TYPE}
    return wanted.uris[0].partition("?")[0].endswith(GIT_SUFFIX)


def _directory(value: str | None) -> str:
    if value is None:
        return ""
    segments = value.split("/")
    if any(part in {"", ".", ".."} or "\0" in part for part in segments):
        raise InvalidQualifier(
            f"{DIRECTORY} {value!r}: must be a relative path without . and .., and without a slash "
            "at its end"
        )
    return value
