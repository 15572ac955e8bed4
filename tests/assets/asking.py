"""A client of the Remote Asset API, and what tests need of it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from protos import (
    remote_asset_pb2 as asset,
    remote_asset_pb2_grpc as asset_grpc,
    remote_execution_pb2 as reapi,
)
from tests.protocol.peer import CALL_SECONDS, Peer

NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True)
class Assets:
    peer: Peer
    fetch: asset_grpc.FetchStub
    push: asset_grpc.PushStub

    def blob(
        self,
        *uris: str,
        seconds: float = 0,
        oldest: float = 0,
        instance: str = "",
        having: Mapping[str, str] = NOTHING,
    ) -> asset.FetchBlobResponse:
        request = asset.FetchBlobRequest(
            uris=uris,
            qualifiers=qualifiers_of(having),
            instance_name=instance,
            digest_function=self.peer.function,
        )
        if seconds:
            request.timeout.FromNanoseconds(int(seconds * 1e9))
        if oldest:
            request.oldest_content_accepted.CopyFrom(Timestamp(seconds=int(oldest)))
        return self.fetch.FetchBlob(request, timeout=CALL_SECONDS)

    def directory(
        self, *uris: str, having: Mapping[str, str] = NOTHING
    ) -> asset.FetchDirectoryResponse:
        request = asset.FetchDirectoryRequest(
            uris=uris, qualifiers=qualifiers_of(having), digest_function=self.peer.function
        )
        return self.fetch.FetchDirectory(request, timeout=CALL_SECONDS)

    def push_blob(
        self,
        digest: reapi.Digest,
        *uris: str,
        expires: int = 0,
        having: Mapping[str, str] = NOTHING,
    ) -> None:
        request = asset.PushBlobRequest(
            uris=uris, qualifiers=qualifiers_of(having), blob_digest=digest
        )
        if expires:
            request.expire_at.CopyFrom(Timestamp(seconds=expires))
        self.push.PushBlob(request, timeout=CALL_SECONDS)

    def files(self, root: reapi.Digest) -> dict[str, str]:
        """Return what lies below `root`: text of files, `*` behind that of programs, by path.

        Symlinks are `-> TARGET`; a directory without anything in it is "/".
        """
        return dict(self._files(root, ""))

    def _files(self, root: reapi.Digest, at: str) -> Iterator[tuple[str, str]]:
        directory = reapi.Directory.FromString(self.peer.read(root))
        for file in directory.files:
            text = self.peer.read(file.digest).decode(errors="replace")
            yield f"{at}{file.name}", text + "*" * file.is_executable
        for link in directory.symlinks:
            yield f"{at}{link.name}", f"-> {link.target}"
        for below in directory.directories:
            inner = dict(self._files(below.digest, f"{at}{below.name}/"))
            yield from inner.items() if inner else [(f"{at}{below.name}", "/")]


def assets_of(peer: Peer) -> Assets:
    return Assets(peer, asset_grpc.FetchStub(peer.channel), asset_grpc.PushStub(peer.channel))


def qualifiers_of(named: Mapping[str, str]) -> list[asset.Qualifier]:
    return [asset.Qualifier(name=name, value=value) for name, value in named.items()]


def sri(data: bytes, algorithm: str = "sha256") -> str:
    hash = hashlib.new(algorithm, data).digest()
    return f"{algorithm}-{base64.b64encode(hash).decode()}"
