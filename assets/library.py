"""Assets: what was pushed, what was fetched, and what can be fetched."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import inf

from assets.fault import AssetNotFound, AssetTooLarge, NotHad, OriginFault
from assets.fetcher import Fetcher
from assets.index import AssetIndex, AssetName, Kind, Known
from assets.integrity import Integrity
from assets.method import Method, method_of
from assets.origins import Origins, Place
from assets.qualifiers import CANONICAL_ID, DIRECTORY
from assets.request import Had, Wanted
from assets.running import RunningFetches
from cas.digest import Digest, DigestFunction
from cas.store import BlobStore
from cas.tree import InvalidMessage, MissingInputs, TreeLimits, TreeTooLarge, load_inputs

SCHEMES = frozenset({"http", "https", "file"})
WEAK = "sha1"  # what hashes to a given one can be made by others

Named = Callable[[DigestFunction, str], Digest | None]


class Library:
    """Answers requests for assets; never with one of which a part is missing.

    named: the blob of a function and a hash, if the store has it. fresh_seconds: how long what
    may change at its origin is answered without asking there. lease_seconds: how long the store
    holds what was asked for. clock: seconds since 1970.
    """

    def __init__(
        self,
        index: AssetIndex,
        blobs: BlobStore,
        fetcher: Fetcher,
        running: RunningFetches,
        *,
        named: Named,
        origins: Origins,
        tree_limits: TreeLimits,
        fresh_seconds: float,
        lease_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._index = index
        self._blobs = blobs
        self._named = named
        self._fetcher = fetcher
        self._origins = origins
        self._running = running
        self._tree_limits = tree_limits
        self._fresh_seconds = fresh_seconds
        self._lease_seconds = lease_seconds
        self._clock = clock

    def now(self) -> float:
        return self._clock()

    def count(self) -> int:
        """Return how many assets are remembered."""
        return self._index.count()

    def fetching(self) -> int:
        """Return how many fetches are under way, or wait for their turn."""
        return len(self._running)

    async def push(self, names: list[AssetName], known: Known) -> None:
        """Answer requests for `names` with `known` from now on.

        Raises MissingInputs with all that is not in the store; InvalidMessage.
        """
        missing = await self._missing(names[0].kind, known)
        if missing:
            raise MissingInputs(missing)
        await self._index.put(names, known, now=self._clock())

    async def fetch(self, wanted: Wanted) -> Had:
        """Return an asset that is known, or fetch it.

        Qualifiers have to be all those that it was pushed or fetched with, headers left aside.
        Raises NotHad where no place gave it; UnsupportedQualifiers, InvalidQualifier, InvalidUri;
        TooManyFetches; what the store's `write` raises.
        """
        for uri in wanted.uris:
            if had := await self._known(wanted, uri):
                return had
        method = method_of(wanted)
        if had := await self._by_checksum(wanted, method.integrity):
            return had
        if not wanted.uris:
            raise NotHad([("", AssetNotFound("no blob with this checksum is in the store"))])
        places = [Place.parse(uri) for uri in wanted.uris]
        return await self._running.share(
            replace(wanted, seconds=0, oldest=0),
            wanted.uris[0],
            lambda: self._fetched(wanted, method, places),
            seconds=wanted.seconds,
            oldest=wanted.oldest,
        )

    async def _known(self, wanted: Wanted, uri: str) -> Had | None:
        known = self._index.find(wanted.name(uri))
        if known is None or known.retrieved < wanted.oldest:
            return None
        if known.expires and known.expires <= self._clock():
            return None
        try:
            if await self._missing(wanted.kind, known):
                return None
        except InvalidMessage:
            return None
        return self._had(uri, known)

    async def _by_checksum(self, wanted: Wanted, integrity: Integrity | None) -> Had | None:
        """Return a blob of the store that has the checksum, wherever it came from.

        Not where the client says that the same bytes from elsewhere are not the same to it.
        """
        if wanted.kind is not Kind.BLOB or integrity is None or integrity.algorithm == WEAK:
            return None
        if wanted.oldest or wanted.qualifiers.get(CANONICAL_ID):
            return None
        if integrity.algorithm != wanted.function:
            return None
        for hash in integrity.hashes:
            digest = self._named(wanted.function, hash.hex())
            if digest is not None and not await self._blobs.find_missing([digest]):
                uri = wanted.uris[0] if wanted.uris else ""
                return self._had(uri, Known(digest, self._clock()))
        return None

    async def _fetched(self, wanted: Wanted, method: Method, places: list[Place]) -> Had:
        """Fetch from one place after the other, until one gives the asset."""
        faults: list[tuple[str, OriginFault]] = []
        for at, (uri, place) in enumerate(zip(wanted.uris, places, strict=True)):
            try:
                known = await self._fetched_from(wanted, method, at, uri, place)
            except OriginFault as fault:
                faults.append((uri, fault))
            else:
                return self._had(uri, known)
        raise NotHad(faults)

    async def _fetched_from(
        self, wanted: Wanted, method: Method, at: int, uri: str, place: Place
    ) -> Known:
        if place.url.scheme not in SCHEMES or not self._origins:
            raise AssetNotFound(
                "was not pushed, and is not fetched: assets.allow lists what this server fetches"
            )
        started = self._clock()
        headers = wanted.qualifiers.headers_for(at, uri)
        commit = ""
        if wanted.kind is Kind.BLOB:
            digest = await self._fetcher.blob(place, headers, wanted.function, method.integrity)
        elif method.revision is not None:
            digest, commit = await self._fetcher.revision(
                place, headers, wanted.function, method.revision, method.directory
            )
        else:
            archive = await self._archive(wanted, method, at, uri, place)
            digest = await self._fetcher.unpacked(archive, method.directory)
        expires = 0 if method.is_fixed else started + self._fresh_seconds
        known = Known(digest, started, expires, commit)
        try:
            missing = await self._missing(wanted.kind, known)  # what was just uploaded is leased
        except TreeTooLarge as error:
            raise AssetTooLarge(str(error)) from None
        if missing:
            raise MissingInputs(missing)
        # What an origin gives to one client for its headers is not for others, but for those who
        # can say what it hashes to.
        if not headers or method.integrity is not None:
            await self._index.put([wanted.name(uri)], known, now=self._clock())
        return known

    async def _archive(
        self, wanted: Wanted, method: Method, at: int, uri: str, place: Place
    ) -> Digest:
        """Return the file that a directory is unpacked from, as FetchBlob would."""
        blob = replace(
            wanted, kind=Kind.BLOB, uris=(uri,), qualifiers=wanted.qualifiers.without(DIRECTORY)
        )
        if had := await self._known(blob, uri) or await self._by_checksum(blob, method.integrity):
            return had.digest
        return (await self._fetched_from(blob, method, at, uri, place)).digest

    async def _missing(self, kind: Kind, known: Known) -> set[Digest]:
        """Return what is not there of an asset, and lease the rest; raise InvalidMessage."""
        roots: Iterable[Digest] = known.directories
        blobs = set(known.blobs)
        if kind is Kind.BLOB:
            blobs.add(known.digest)
        else:
            roots = (known.digest, *known.directories)
        missing = await self._blobs.find_missing(blobs)
        for root in roots:
            try:
                await load_inputs(self._blobs, root, self._tree_limits)
            except MissingInputs as error:
                missing |= set(error.digests)
        return missing

    def _had(self, uri: str, known: Known) -> Had:
        leased = self._clock() + self._lease_seconds
        return Had(uri, known.digest, min(known.expires or inf, leased), known.commit)
