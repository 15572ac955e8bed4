"""Static tokens: random secrets, of which the server keeps only hashes."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

PREFIX = "holdfast_"  # so that people, and scanners for secrets, know one when they see it
SECRET_BYTES = 32  # so random that its hash needs no salt and cannot be searched for
MAX_FILE_BYTES = 16 << 20

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")
_HASH = re.compile(r"[0-9a-f]{64}")


class InvalidTokenFile(ValueError):
    """A line of a token file is none. The message says which, and never what stands there."""


def new_token() -> str:
    """Return a fresh token."""
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def hashed(token: str) -> bytes:
    """Return what a token is looked up by. What the look-up's time tells of it is of no use."""
    return sha256(token.encode(errors="surrogateescape")).digest()


def token_line(name: str, token: str) -> str:
    """Return the line of a token file; raise InvalidTokenFile if `name` cannot be one's."""
    if not _NAME.fullmatch(name):
        raise InvalidTokenFile(
            f"{name!r} cannot name a token: letters, digits and . _ @ + - are possible, 100 at most"
        )
    return f"{name} {hashed(token).hex()}"


def parse_tokens(text: str, source: str) -> dict[bytes, str]:
    """Return names by hashes; raise InvalidTokenFile.

    A line is a name, white space and the token's SHA-256 in lowercase hexadecimal. A name may
    have several tokens, to replace one without a gap. Lines that begin with # are not looked at.
    """
    names: dict[bytes, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        if len(parts) != 2 or not _NAME.fullmatch(parts[0]) or not _HASH.fullmatch(parts[1]):  # noqa: PLR2004
            raise InvalidTokenFile(
                f"{source}, line {number}: must be a name and a SHA-256, as `holdfast token new` "
                "prints it"
            )
        names[bytes.fromhex(parts[1])] = parts[0]
    return names


def read_tokens(path: Path) -> Mapping[bytes, str]:
    """Read a token file; raise OSError, InvalidTokenFile."""
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise InvalidTokenFile(f"{path}: has more than {MAX_FILE_BYTES} bytes")
    try:
        return parse_tokens(data.decode(), str(path))
    except UnicodeDecodeError:
        raise InvalidTokenFile(f"{path}: not UTF-8") from None
