"""What every command that talks to a server is told, and opens."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec

import click

from cas.digest import Digest, DigestFunction, InvalidDigest
from protos import remote_execution_pb2 as reapi
from re_client.actions import Actions
from re_client.admin import Admin
from re_client.blobs import RemoteStore
from re_client.connection import Connection, Retry, batch_bytes, connected
from re_client.credentials import Credentials, checked_token, token_in_file

TOKEN_VARIABLE = "HOLDFAST_TOKEN"  # noqa: S105 - where it is, not what
DEFAULT_SERVER = "grpc://127.0.0.1:8980"
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Remote:
    """Which instance of which server, and how digests are made."""

    server: str
    instance: str
    function: DigestFunction
    credentials: Credentials = field(default_factory=Credentials)

    def digest(self, text: str) -> Digest:
        """Read HASH/SIZE; raise InvalidDigest."""
        hash, slash, size = text.partition("/")
        if not slash or not size.isdecimal():
            raise InvalidDigest(f"{text!r} is no digest: write HASH/SIZE, as `holdfast put` does")
        return Digest.parse(hash, int(size), self.function)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Session]:
        """Connect; raise ConnectionError at once if nobody is there."""
        async with connected(self.server, credentials=self.credentials) as connection:
            once = replace(connection, retry=Retry(attempts=1))
            capabilities = await once.capabilities(self.instance)
            store = RemoteStore(
                connection, self.instance, max_batch_bytes=batch_bytes(capabilities)
            )
            actions = Actions(connection, self.instance)
            yield Session(connection, capabilities, store, actions, Admin(connection))


@dataclass(frozen=True, slots=True)
class Session:
    """A server that answers."""

    connection: Connection
    capabilities: reapi.ServerCapabilities
    store: RemoteStore
    actions: Actions
    admin: Admin


def with_remote(command: Callable[Concatenate[Remote, P], None]) -> Callable[P, None]:
    """Add the options that name a server; the command gets them as its first argument."""

    @click.option(
        "--server",
        default=DEFAULT_SERVER,
        envvar="HOLDFAST_SERVER",
        show_default=True,
        show_envvar=True,
        metavar="grpc://HOST:PORT",
        help="Server to talk to; grpcs:// with TLS.",
    )
    @click.option(
        "--instance",
        default="",
        envvar="HOLDFAST_INSTANCE",
        show_envvar=True,
        metavar="NAME",
        help="Instance name.  [default: the empty one]",
    )
    @click.option(
        "--digest-function",
        "function",
        type=click.Choice([function.value for function in DigestFunction]),
        default=DigestFunction.SHA256.value,
        envvar="HOLDFAST_DIGEST_FUNCTION",
        show_default=True,
        show_envvar=True,
        help="How blobs are named.",
    )
    @_with_credentials  # type: ignore[arg-type]  # click passes them by name
    @wraps(command)
    def with_options(
        credentials: Credentials,
        server: str,
        instance: str,
        function: str,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        remote = Remote(server, instance, DigestFunction(function), credentials)
        command(remote, *args, **kwargs)

    return with_options  # type: ignore[return-value]  # click fills in the three


def _with_credentials(command: Callable[Concatenate[Credentials, P], None]) -> Callable[P, None]:
    """Add the options that say what the caller and the server are known by."""

    @_file_option(
        "--token-file", "Token to send, alone in a file. HOLDFAST_TOKEN may hold it, too."
    )
    @_file_option("--tls-ca", "What the server is known by, PEM.  [default: the system's]")
    @_file_option("--tls-certificate", "This client's own certificate, PEM.")
    @_file_option("--tls-key", "Its private key, PEM.")
    @wraps(command)
    def with_options(
        token_file: Path | None,
        tls_ca: Path | None,
        tls_certificate: Path | None,
        tls_key: Path | None,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        token = _token(token_file)
        credentials = Credentials(token, tls_ca, tls_certificate, tls_key, token_file)
        command(credentials, *args, **kwargs)

    return with_options  # click fills in the four


def _file_option(name: str, help: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(
        name,
        type=click.Path(dir_okay=False, path_type=Path),
        envvar=f"HOLDFAST_{name.strip('-').replace('-', '_').upper()}",
        show_envvar=True,
        metavar="FILE",
        help=help,
    )


def _token(file: Path | None) -> Callable[[], str] | None:
    """Return what tells the token, from a file or the environment: arguments are seen by all."""
    if file is not None:
        return token_in_file(file)
    if TOKEN_VARIABLE not in os.environ:
        return None
    token = checked_token(os.environ[TOKEN_VARIABLE].strip(), TOKEN_VARIABLE)
    return lambda: token
