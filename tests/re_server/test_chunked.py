from __future__ import annotations

from pathlib import Path

import pytest

from cas.wire import digest_to
from protos import remote_execution_pb2 as reapi
from re_config.determinism_tables import Instance
from re_server.chunked import ChunkedBlobs
from re_server.instances import Instances
from tests.cas.disks import opened
from tests.cas.splitting import Chunked
from tests.cas.stores import MIB, named, noise, put


async def test_a_call_that_takes_too_long_ends_with_the_bound_and_keeps_nothing(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as store:
        chunked = Chunked(store)
        calls = ChunkedBlobs(
            Instances({}, Instance()), chunked.splitter, chunked.splicer, max_seconds=1e-6
        )
        halves = [noise(MIB), noise(MIB, 1)]
        blob = await put(store.blobs, halves[0] + halves[1])
        with pytest.raises(TimeoutError, match=r"SplitBlob took more than chunking\.max_seconds"):
            await calls.split(reapi.SplitBlobRequest(blob_digest=digest_to(blob)))
        assert chunked.lists() == 0
        chunks = [digest_to(await put(store.blobs, half)) for half in halves]
        other = named(halves[1] + halves[0])
        with pytest.raises(TimeoutError, match="SpliceBlob took more than"):
            await calls.splice(
                reapi.SpliceBlobRequest(
                    blob_digest=digest_to(other), chunk_digests=reversed(chunks)
                )
            )
        assert await store.blobs.find_missing([other]) == {other}
