"""Qualifiers: what, beside its URI, says which asset is meant and how it is to be had.

Source: remote_asset.proto, message Qualifier, and the lexicon that goes with it. What Bazel sends
beside those stands in its GrpcRemoteDownloader.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

import msgspec

from assets.integrity import Integrity, InvalidChecksum

CHECKSUM = "checksum.sri"
CANONICAL_ID = "bazel.canonical_id"
RESOURCE_TYPE = "resource_type"
DIRECTORY = "directory"
BRANCH = "vcs.branch"
COMMIT = "vcs.commit"
AUTH_HEADERS = "bazel.auth_headers"  # of Bazel before 7: an object of headers by URI, in JSON
HEADER = "http_header:"
URI_HEADER = "http_header_url:"  # followed by the URI's place in the request, a colon, a name

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2: token
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
# What says how the answer is to come, or would make it a part of the asset.
_OWN_HEADERS = frozenset(
    {"accept-encoding", "connection", "content-length", "expect", "host", "if-match",
     "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "keep-alive", "range",
     "te", "trailer", "transfer-encoding", "upgrade"}
)  # fmt: skip
_AuthHeaders = dict[str, dict[str, str | list[str]]]


class InvalidQualifier(ValueError):
    """A qualifier whose value cannot be read, or that stands twice."""


class UnsupportedQualifiers(ValueError):
    """Qualifiers that nothing can be held against here, and that nothing was pushed with."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        super().__init__(
            f"qualifiers not supported: {', '.join(repr(name) for name in self.names)}"
        )


@dataclass(frozen=True, slots=True)
class _Header:
    """A header to be sent: to one place of the request, to one URI, or (None) to all."""

    name: str
    value: str = field(repr=False)
    place: int | None = None
    uri: str | None = None


@dataclass(frozen=True, slots=True)
class Qualifiers:
    """Those of one request.

    stated: name and value of each that says which content is meant, sorted. headers: what is sent
    to origins. These may be secrets: they are no part of what is remembered or logged.
    """

    stated: tuple[tuple[str, str], ...]
    headers: frozenset[_Header]

    @classmethod
    def parse(cls, pairs: Iterable[tuple[str, str]]) -> Self:
        """Read a request's qualifiers; raise InvalidQualifier.

        Bazel sends a header with several values as several qualifiers of one name; any other name
        stands once.
        """
        stated: dict[str, str] = {}
        headers: set[_Header] = set()
        for name, value in pairs:
            if name == AUTH_HEADERS:
                headers.update(_auth_headers(value))
            elif name.startswith(HEADER):
                headers.add(_header(name.removeprefix(HEADER), value))
            elif name.startswith(URI_HEADER):
                headers.add(_placed_header(name, value))
            elif name in stated:
                raise InvalidQualifier(f"qualifier {name!r}: stands twice")
            else:
                stated[name] = value
        return cls(tuple(sorted(stated.items())), frozenset(headers))

    def get(self, name: str) -> str | None:
        return dict(self.stated).get(name)

    @property
    def integrity(self) -> Integrity | None:
        """What the bytes of the asset must hash to; raises InvalidQualifier."""
        checksum = self.get(CHECKSUM)
        try:
            return None if checksum is None else Integrity.parse(checksum)
        except InvalidChecksum as error:
            raise InvalidQualifier(f"qualifier {error}") from None

    def check_supported(self, known: Collection[str]) -> None:
        """Raise UnsupportedQualifiers with all that are not `known`."""
        if others := [name for name, _ in self.stated if name not in known]:
            raise UnsupportedQualifiers(others)

    def without(self, *names: str) -> Qualifiers:
        kept = tuple(pair for pair in self.stated if pair[0] not in names)
        return Qualifiers(kept, self.headers)

    def headers_for(self, place: int, uri: str) -> Mapping[str, str]:
        """Return the headers for the URI at `place` in the request: its own win over those for all.

        Values of one name are joined as RFC 9110, section 5.3 has it.
        """
        general: dict[str, list[str]] = {}
        own: dict[str, list[str]] = {}
        for header in sorted(self.headers, key=lambda one: (one.name, one.value)):
            if header.place == place or header.uri == uri:
                own.setdefault(header.name, []).append(header.value)
            elif header.place is None and header.uri is None:
                general.setdefault(header.name, []).append(header.value)
        return {name: ", ".join(values) for name, values in (general | own).items()}


def _header(name: str, value: str, *, place: int | None = None, uri: str | None = None) -> _Header:
    """Check a header; what is wrong with it is told without its value."""
    if not _HEADER_NAME.fullmatch(name) or name.lower() in _OWN_HEADERS:
        raise InvalidQualifier(f"header {name[:80]!r}: not one that may be sent to an origin")
    if not _HEADER_VALUE.fullmatch(value):
        raise InvalidQualifier(f"header {name}: its value has characters that no header can have")
    return _Header(name.lower(), value, place, uri)


def _placed_header(qualifier: str, value: str) -> _Header:
    place, _, name = qualifier.removeprefix(URI_HEADER).partition(":")
    if not (place.isascii() and place.isdigit() and len(place) < 4):  # noqa: PLR2004
        raise InvalidQualifier(f"qualifier {qualifier[:80]!r}: the form is {URI_HEADER}NUMBER:NAME")
    return _header(name, value, place=int(place))


def _auth_headers(value: str) -> Iterator[_Header]:
    try:
        by_uri = msgspec.json.decode(value, type=_AuthHeaders)
    except msgspec.MsgspecError:
        raise InvalidQualifier(
            f"qualifier {AUTH_HEADERS}: must be a JSON object of headers by URI"
        ) from None
    for uri, headers in by_uri.items():
        for name, values in headers.items():
            for one in [values] if isinstance(values, str) else values:
                yield _header(name, one, uri=uri)
