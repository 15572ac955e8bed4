"""Which origins may be fetched from: those on a list, and no others."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv6Address
from pathlib import Path
from typing import Self
from urllib.parse import unquote

from yarl import URL

from assets.fault import OriginRefused

FORM = "SCHEME://HOST[:PORT]/PATH, of http, https or file:///PATH"
REST = "**"
_PORTS = {"http": 80, "https": 443, "file": None}
_HOST = re.compile(r"(\*|(\*\.)?[a-z0-9_.-]+|\[[0-9a-f:.]+\])")


class InvalidOrigin(ValueError):
    """A line of the list that does not have the form of one."""


class InvalidUri(ValueError):
    """A URI that two programs may understand in two ways."""


class Reach(Enum):
    """Which addresses a place may have: those of the public internet, or any."""

    PUBLIC = "public"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Place:
    """A URI, taken apart. segments: of its path, decoded. The query is in `url` alone."""

    url: URL
    segments: tuple[str, ...]

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Take a URI apart; raise InvalidUri.

        Refused are paths that servers and lists read differently (`..`, `%2F`, backslashes, no
        slash at their start), and credentials, which would be remembered and logged with the URI.
        """
        said = f"uri {uri.rpartition('@')[2][:500]!r}"  # without credentials
        try:
            url = URL(uri)
            host, port = url.host or "", url.port
            if ":" in host:
                IPv6Address(host)  # anything may stand in brackets, and is written without them
        except ValueError:
            raise InvalidUri(f"{said}: cannot be read") from None
        if url.scheme in {"http", "https"} and (not host or not port):
            raise InvalidUri(f"{said}: has no host")
        if url.scheme == "file" and host:
            raise InvalidUri(f"{said}: a file is named as file:///PATH")
        if url.user or url.password:
            raise InvalidUri("uris: credentials are to be sent as qualifiers http_header:NAME")
        segments = tuple(unquote(part) for part in url.raw_path.split("/")[1:])
        raw = uri.split("?", maxsplit=1)[0].split("#", maxsplit=1)[0]
        said_twice = (*segments, *map(unquote, raw.split("/")))
        rooted = url.scheme not in _PORTS or url.raw_path.startswith("/")
        if not rooted or "\\" in raw or any(map(_ambiguous, said_twice)):
            raise InvalidUri(f"{said}: its path can be read in two ways")
        return cls(url, segments)

    @property
    def path(self) -> Path:
        """Return where a file: URI points."""
        return Path("/", *self.segments)


def _ambiguous(segment: str) -> bool:
    return segment in {".", ".."} or any(one in segment for one in "/\\\0")


@dataclass(frozen=True, slots=True)
class Origin:
    """One line of the list.

    host: a name or address, `*.` and a domain, or `*`; "" of files. segments: of the path, in which
    `*` stands for anything inside one segment, and `**`, which can only be the last, for the rest.
    """

    scheme: str
    host: str
    port: int | None
    segments: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a line; raise InvalidOrigin."""
        scheme, separator, rest = text.partition("://")
        authority, slash, path = rest.partition("/")
        if not separator or scheme not in _PORTS or not slash:
            raise InvalidOrigin(f"{text!r}: the form is {FORM}")
        host, _, port = authority.rpartition(":") if _has_port(authority) else (authority, "", "")
        segments = tuple(path.split("/"))
        if scheme == "file":
            if authority or path in {"", REST}:
                raise InvalidOrigin(f"{text!r}: must name a folder, as file:///srv/assets/**")
        elif not _HOST.fullmatch(host) or (port and not port.isdigit()):
            raise InvalidOrigin(f"{text!r}: the host must be a lowercase name, an address, or *")
        if REST in "/".join(segments[:-1]) or any(part in {".", ".."} for part in segments):
            raise InvalidOrigin(f"{text!r}: ** can only be the last segment of a path, .. none")
        number = int(port) if port else _PORTS[scheme]
        return cls(scheme, host.strip("[]"), number, segments)

    def covers(self, place: Place) -> bool:
        url = place.url
        if url.scheme != self.scheme or not self._covers_path(place.segments):
            return False
        return self.scheme == "file" or (url.port == self.port and self._covers_host(url.host))

    def _covers_host(self, host: str | None) -> bool:
        if host is None or self.host == "*":
            return host is not None
        if self.host.startswith("*."):
            return host.endswith(self.host[1:])
        return host == self.host

    def _covers_path(self, segments: tuple[str, ...]) -> bool:
        if self.segments[-1] != REST:
            return len(segments) == len(self.segments) and self._match(segments)
        known = len(self.segments) - 1
        return len(segments) > known and self._match(segments[:known])

    def _match(self, segments: tuple[str, ...]) -> bool:
        return all(map(_matches, self.segments, segments))


def _has_port(authority: str) -> bool:
    return ":" in authority.rpartition("]")[2]


def _matches(pattern: str, segment: str) -> bool:
    parts = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(parts, segment, re.DOTALL) is not None


@dataclass(frozen=True, slots=True)
class Origins:
    """The whole list. private: those whose hosts may have addresses that are not public."""

    public: tuple[Origin, ...] = ()
    private: tuple[Origin, ...] = ()

    @classmethod
    def parse(cls, public: Iterable[str], private: Iterable[str]) -> Self:
        """Read both lists; raise InvalidOrigin."""
        return cls(tuple(map(Origin.parse, public)), tuple(map(Origin.parse, private)))

    def __bool__(self) -> bool:
        return bool(self.public or self.private)

    def reach(self, place: Place) -> Reach:
        """Say which addresses `place` may have; raise OriginRefused if it is on no list."""
        if any(origin.covers(place) for origin in self.private):
            return Reach.ANY
        if any(origin.covers(place) for origin in self.public):
            return Reach.PUBLIC
        raise OriginRefused(
            f"{place.url.with_query(None)} is not an origin that this server may fetch from; "
            "assets.allow in its configuration lists those"
        )
