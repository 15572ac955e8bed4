"""Callers with tokens, and what a server must be told of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import grpc

from access.tokens import new_token, token_line
from tests.protocol.peer import OPTIONS, Peer


class Tokens:
    """A file of tokens. by_name: what each caller sends."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "tokens"
        self.file.write_text("# name, SHA-256 of the token\n")
        self.by_name: dict[str, str] = {}

    def add(self, *names: str) -> None:
        for name in names:
            token = new_token()
            self.by_name[name] = token
            with self.file.open("a") as file:
                file.write(token_line(name, token) + "\n")

    def withdraw(self, name: str) -> None:
        lines = self.file.read_text().splitlines(keepends=True)
        self.file.write_text("".join(line for line in lines if not line.startswith(f"{name} ")))

    def settings(self, grants: Mapping[str, str]) -> str:
        """Return tables that give each caller the rights in `grants`, in all instances."""
        listed = "".join(
            f'[[access.grants]]\nwho = ["{who}"]\nrights = [{rights}]\n'
            for who, rights in grants.items()
        )
        return f'[access]\ntokens = "{self.file}"\n{listed}'


class _Sending(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds credentials to every call."""

    def __init__(self, credentials: str) -> None:
        self._added = ("authorization", credentials)

    def _with_them(self, details: grpc.ClientCallDetails) -> grpc.ClientCallDetails:
        told: Any = details
        metadata = [*(told.metadata or ()), self._added]
        return cast("grpc.ClientCallDetails", told._replace(metadata=metadata))

    def intercept_unary_unary(self, go_on: Any, details: grpc.ClientCallDetails, sent: Any) -> Any:
        return go_on(self._with_them(details), sent)

    def intercept_unary_stream(self, go_on: Any, details: grpc.ClientCallDetails, sent: Any) -> Any:
        return go_on(self._with_them(details), sent)

    def intercept_stream_unary(self, go_on: Any, details: grpc.ClientCallDetails, sent: Any) -> Any:
        return go_on(self._with_them(details), sent)

    def intercept_stream_stream(
        self, go_on: Any, details: grpc.ClientCallDetails, sent: Any
    ) -> Any:
        return go_on(self._with_them(details), sent)


@contextmanager
def calling(
    address: str, credentials: str | None, tls: grpc.ChannelCredentials | None = None
) -> Iterator[Peer]:
    """Speak to `address`. credentials: of the header `authorization`; None for none."""
    options = (*OPTIONS, ("grpc.http2.bdp_probe", 0))  # what is not read is not sent, either
    if tls is None:
        channel = grpc.insecure_channel(address, options=options)
    else:
        channel = grpc.secure_channel(address, tls, options=options)
    with channel:
        if credentials is None:
            yield Peer(channel)
        else:
            yield Peer(grpc.intercept_channel(channel, _Sending(credentials)))


def bearer(token: str) -> str:
    return f"Bearer {token}"
