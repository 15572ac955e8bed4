"""The Remote Asset services, Fetch and Push."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.code_pb2 import Code
from prometheus_client import CollectorRegistry

from assets.fault import NotHad
from assets.index import AssetName, Kind, Known
from assets.library import Library
from assets.opening import open_library
from assets.origins import Origins
from assets.qualifiers import CHECKSUM, COMMIT, Qualifiers
from assets.request import Had, Wanted
from cas.digest import Digest, DigestFunction
from cas.disk_open import OpenStore
from cas.wire import TO_WIRE, digest_to
from protos import remote_asset_pb2 as asset, remote_asset_pb2_grpc, remote_execution_pb2 as reapi
from re_client.status import Refused, to_status
from re_config.asset_table import Assets, asset_limits
from re_config.bounds import tree_limits
from re_config.schema import Config
from re_server.instances import Instances
from re_server.metrics import AssetMetrics
from re_server.rpc import Context

MAX_URIS = 100
MAX_URI_CHARACTERS = 8192
MAX_QUALIFIERS = 200
MAX_REFERENCES = 10_000

FetchRequest = asset.FetchBlobRequest | asset.FetchDirectoryRequest
PushRequest = asset.PushBlobRequest | asset.PushDirectoryRequest
Response = TypeVar("Response", asset.FetchBlobResponse, asset.FetchDirectoryResponse)


class FetchService(remote_asset_pb2_grpc.FetchServicer):
    """build.bazel.remote.asset.v1.Fetch.

    answered: told of each answer, by kind and the code of its status.
    """

    def __init__(
        self,
        instances: Instances,
        library: Library,
        settings: Assets,
        answered: Callable[[Kind, int], object],
    ) -> None:
        self._answered = answered
        self._instances = instances
        self._library = library
        self._settings = settings

    async def FetchBlob(
        self, request: asset.FetchBlobRequest, context: Context
    ) -> asset.FetchBlobResponse:
        response = asset.FetchBlobResponse()
        if had := await self._fetched(Kind.BLOB, request, response):
            response.blob_digest.CopyFrom(digest_to(had.digest))
        return response

    async def FetchDirectory(
        self, request: asset.FetchDirectoryRequest, context: Context
    ) -> asset.FetchDirectoryResponse:
        response = asset.FetchDirectoryResponse()
        if had := await self._fetched(Kind.DIRECTORY, request, response):
            response.root_directory_digest.CopyFrom(digest_to(had.digest))
        return response

    async def _fetched(self, kind: Kind, request: FetchRequest, response: Response) -> Had | None:
        """Fetch, and fill in what both responses have.

        Source: remote_asset.proto, service Fetch: what is the origin's fault stands in `status`.
        """
        wanted = self._wanted(kind, request)
        response.digest_function = TO_WIRE[wanted.function]
        try:
            had = await self._library.fetch(wanted)
        except NotHad as error:
            response.status.CopyFrom(to_status(error.fault))
            response.status.message = str(error)
            response.uri = error.uri
            self._answered(kind, response.status.code)
            return None
        self._answered(kind, Code.OK)
        response.uri = had.uri
        response.expires_at.FromSeconds(int(had.expires))
        if had.commit:
            response.qualifiers.add(name=COMMIT, value=had.commit)
        return had

    def _wanted(self, kind: Kind, request: FetchRequest) -> Wanted:
        instance = self._instances.find(request.instance_name)
        function = DigestFunction.SHA256
        if request.digest_function:
            function = self._instances.function(request.instance_name, request.digest_function, "")
        qualifiers = _qualifiers(request.qualifiers)
        by_checksum = instance.lenient and kind is Kind.BLOB and qualifiers.get(CHECKSUM)
        return Wanted(
            kind,
            request.instance_name,
            function,
            _uris(request.uris) if request.uris or not by_checksum else (),
            qualifiers,
            self._seconds(request),
            _time(request.oldest_content_accepted, "oldest_content_accepted"),
        )

    def _seconds(self, request: FetchRequest) -> float:
        """Return how long the fetch may take, within what the server allows."""
        if not request.HasField("timeout"):
            return self._settings.default_timeout_seconds
        seconds = request.timeout.seconds + request.timeout.nanos / 1e9
        if seconds <= 0:
            raise Refused(f"timeout: {seconds:g} seconds; must be more than 0")
        return min(seconds, self._settings.max_timeout_seconds)


class PushService(remote_asset_pb2_grpc.PushServicer):
    """build.bazel.remote.asset.v1.Push."""

    def __init__(self, instances: Instances, library: Library) -> None:
        self._instances = instances
        self._library = library

    async def PushBlob(
        self, request: asset.PushBlobRequest, context: Context
    ) -> asset.PushBlobResponse:
        await self._push(Kind.BLOB, request, request.blob_digest, "blob_digest")
        return asset.PushBlobResponse()

    async def PushDirectory(
        self, request: asset.PushDirectoryRequest, context: Context
    ) -> asset.PushDirectoryResponse:
        digest = request.root_directory_digest
        await self._push(Kind.DIRECTORY, request, digest, "root_directory_digest")
        return asset.PushDirectoryResponse()

    async def _push(
        self, kind: Kind, request: PushRequest, message: reapi.Digest, field: str
    ) -> None:
        """Remember an asset, all of which has to be in the store, as for uploaded results."""
        if not message.hash:
            raise Refused(f"{field}: must be there")
        digest = self._instances.digest(
            request.instance_name, request.digest_function, message, field=field
        )
        qualifiers = _qualifiers(request.qualifiers)
        names = [
            AssetName(kind, request.instance_name, digest.function, uri, qualifiers.stated)
            for uri in _uris(request.uris)
        ]
        known = Known(
            digest,
            self._library.now(),
            _time(request.expire_at, "expire_at"),
            blobs=self._references(request, request.references_blobs, digest, "references_blobs"),
            directories=self._references(
                request, request.references_directories, digest, "references_directories"
            ),
        )
        await self._library.push(names, known)

    def _references(
        self, request: PushRequest, messages: Sequence[reapi.Digest], of: Digest, field: str
    ) -> tuple[Digest, ...]:
        if len(messages) > MAX_REFERENCES:
            raise Refused(f"{field}: {len(messages)} digests; there may be {MAX_REFERENCES}")
        number = TO_WIRE[of.function]
        return tuple(self._instances.digests(request.instance_name, number, messages, field=field))


@dataclass(frozen=True, slots=True)
class AssetServices:
    """What is served of the Remote Asset API."""

    fetch: FetchService
    push: PushService


@asynccontextmanager
async def asset_services(
    config: Config, store: OpenStore, instances: Instances, registry: CollectorRegistry
) -> AsyncIterator[AssetServices | None]:
    """Offer both services over an open store until the block ends; None where they are off."""
    settings = config.assets
    if not settings.enabled:
        yield None
        return
    origins = Origins.parse(settings.allow, settings.allow_private)
    limits = asset_limits(settings, tree_limits(config.limits))
    async with open_library(store, origins, limits) as library:
        answered = AssetMetrics(registry, library).answered
        yield AssetServices(
            FetchService(instances, library, settings, answered), PushService(instances, library)
        )


def _uris(uris: Sequence[str]) -> tuple[str, ...]:
    if not 0 < len(uris) <= MAX_URIS:
        raise Refused(f"uris: {len(uris)} are given; there must be 1 to {MAX_URIS}")
    for at, uri in enumerate(uris):
        if not 0 < len(uri) <= MAX_URI_CHARACTERS:
            raise Refused(f"uris[{at}]: must have 1 to {MAX_URI_CHARACTERS} characters")
    return tuple(uris)


def _qualifiers(qualifiers: Sequence[asset.Qualifier]) -> Qualifiers:
    if len(qualifiers) > MAX_QUALIFIERS:
        raise Refused(f"qualifiers: {len(qualifiers)} are given; there may be {MAX_QUALIFIERS}")
    return Qualifiers.parse((each.name, each.value) for each in qualifiers)


def _time(stamp: Timestamp, field: str) -> float:
    """Return a time in seconds since 1970; 0 where it is not given."""
    if stamp.seconds < 0:
        raise Refused(f"{field}: {stamp.seconds} seconds since 1970; must be 0 or more")
    return stamp.seconds + stamp.nanos / 1e9
