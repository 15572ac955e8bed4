"""What a client proves itself by, and what it knows a server by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from access.followed import Followed

MAX_TOKEN_BYTES = 64 * 1024


class InvalidCredentials(ValueError):
    """A file of credentials cannot be used. The message names the file, never what it holds."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """token: returns what is sent with each call, as it is then; None for none.

    ca: certificates in PEM that servers are known by; None for those of the system.
    certificate, key: the client's own, both or neither. token_file: where the token is from.
    """

    token: Callable[[], str] | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token_file: Path | None = None

    @property
    def secrets(self) -> list[Path]:
        """Files that nobody else is to read."""
        return [file for file in (self.token_file, self.key) if file]

    def channel(self) -> grpc.ChannelCredentials:
        """Read the files; raise InvalidCredentials."""
        if (self.certificate is None) != (self.key is None):
            raise InvalidCredentials(
                "a client's certificate and its key go together: --tls-certificate, --tls-key"
            )
        return grpc.ssl_channel_credentials(
            _read(self.ca), private_key=_read(self.key), certificate_chain=_read(self.certificate)
        )


def token_in_file(path: Path) -> Callable[[], str]:
    """Return what tells the token in a file, also after it was replaced.

    Raises InvalidCredentials.
    """

    def read() -> str:
        token = (_read(path) or b"").decode(errors="replace").strip()
        return checked_token(token, str(path))

    return Followed((path,), read).current


def checked_token(token: str, source: str) -> str:
    """Return `token` if it can be sent; raise InvalidCredentials. source: where it comes from."""
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidCredentials(f"{source}: must hold a token in one line, and nothing else")
    return token


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            return file.read(MAX_TOKEN_BYTES * 16)
    except OSError as error:
        raise InvalidCredentials(f"{path}: {error.strerror}") from None
