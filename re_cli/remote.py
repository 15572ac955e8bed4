"""What every command that talks to a server is told, and opens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import wraps
from typing import Concatenate, ParamSpec

import click

from cas.digest import Digest, DigestFunction, InvalidDigest
from protos import remote_execution_pb2 as reapi
from re_client.actions import Actions
from re_client.admin import Admin
from re_client.blobs import RemoteStore
from re_client.connection import Connection, Retry, batch_bytes, connected

DEFAULT_SERVER = "grpc://127.0.0.1:8980"
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Remote:
    """Which instance of which server, and how digests are made."""

    server: str
    instance: str
    function: DigestFunction

    def digest(self, text: str) -> Digest:
        """Read HASH/SIZE; raise InvalidDigest."""
        hash, slash, size = text.partition("/")
        if not slash or not size.isdecimal():
            raise InvalidDigest(f"{text!r} is no digest: write HASH/SIZE, as `holdfast put` does")
        return Digest.parse(hash, int(size), self.function)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Session]:
        """Connect; raise ConnectionError at once if nobody is there."""
        async with connected(self.server) as connection:
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
        help="Server to talk to.",
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
    @wraps(command)
    def with_options(
        server: str, instance: str, function: str, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        command(Remote(server, instance, DigestFunction(function)), *args, **kwargs)

    return with_options  # type: ignore[return-value]  # click fills in the three
