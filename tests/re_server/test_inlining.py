from __future__ import annotations

import pytest

from cas.digest import Digest, DigestFunction
from cas.memory import MemoryStore
from cas.wire import digest_to
from protos import remote_execution_pb2 as reapi
from re_server.inlining import inlined
from tests.cas.stores import noise, put

BOUND = 1000


class Shelf:
    """A result under construction, whose blobs are in `store`."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.result = reapi.ActionResult()

    async def file(self, path: str, data: bytes) -> None:
        self.result.output_files.add(path=path, digest=digest_to(await put(self.store, data)))

    async def streams(self, out: bytes, err: bytes) -> None:
        self.result.stdout_digest.CopyFrom(digest_to(await put(self.store, out)))
        self.result.stderr_digest.CopyFrom(digest_to(await put(self.store, err)))

    async def inlined(
        self, *files: str, out: bool = False, err: bool = False, max_bytes: int = BOUND
    ) -> reapi.ActionResult:
        request = reapi.GetActionResultRequest(
            inline_stdout=out, inline_stderr=err, inline_output_files=files
        )
        before = self.result.SerializeToString()
        answer = await inlined(
            self.result,
            request,
            function=DigestFunction.SHA256,
            blobs=self.store,
            max_bytes=max_bytes,
        )
        assert self.result.SerializeToString() == before
        return answer


def contents(result: reapi.ActionResult) -> dict[str, bytes]:
    return {file.path: file.contents for file in result.output_files if file.contents}


async def test_only_what_is_asked_for_is_put_in_and_keeps_its_digest() -> None:
    # REAPI rule: inlining is done where it is asked for.
    shelf = Shelf()
    await shelf.file("a", b"1")
    await shelf.file("b", b"2")
    await shelf.streams(b"out", b"err")
    assert await shelf.inlined() == shelf.result
    one = await shelf.inlined("b", "no such file", out=True)
    assert (contents(one), one.stdout_raw, one.stderr_raw) == ({"b": b"2"}, b"out", b"")
    every = await shelf.inlined("a", "b", out=True, err=True)
    assert contents(every) == {"a": b"1", "b": b"2"}
    assert (every.stdout_raw, every.stderr_raw) == (b"out", b"err")
    assert every.stdout_digest == shelf.result.stdout_digest
    assert every.output_files[0].digest == shelf.result.output_files[0].digest


async def test_files_named_as_the_streams_are_told_apart_from_them() -> None:
    shelf = Shelf()
    await shelf.file("stdout", b"a file")
    await shelf.file("/stdout", b"another")
    await shelf.streams(b"out", b"err")
    answer = await shelf.inlined("stdout", out=True)
    assert (contents(answer), answer.stdout_raw) == ({"stdout": b"a file"}, b"out")


@pytest.mark.parametrize("bound", [0, 399, 400, 799, 800, 1199, 1200, 5000])
async def test_no_more_is_put_in_than_the_bound(bound: int) -> None:
    # REAPI rule: a message stays within what clients accept.
    shelf = Shelf()
    await shelf.streams(noise(400, 1), noise(400, 2))
    await shelf.file("a", noise(400, 3))
    answer = await shelf.inlined("a", out=True, err=True, max_bytes=bound)
    put_in = [answer.stdout_raw, answer.stderr_raw, *contents(answer).values()]
    assert sum(map(len, put_in)) == min(bound // 400, 3) * 400
    assert set(put_in) <= {b"", noise(400, 1), noise(400, 2), noise(400, 3)}


async def test_what_does_not_fit_leaves_room_for_what_does() -> None:
    shelf = Shelf()
    await shelf.streams(noise(BOUND + 1, 1), b"err")
    await shelf.file("large", noise(BOUND, 2))
    await shelf.file("small", b"fits")
    answer = await shelf.inlined("large", "small", out=True, err=True)
    assert (answer.stdout_raw, answer.stderr_raw) == (b"", b"err")
    assert contents(answer) == {"small": b"fits"}


async def test_a_blob_that_is_gone_is_not_put_in_and_harms_nothing() -> None:
    shelf = Shelf()
    await shelf.file("a", b"there")
    shelf.result.output_files.add(path="b", digest=digest_to(Digest.of(b"gone")))
    shelf.result.stdout_digest.CopyFrom(digest_to(Digest.of(b"gone too")))
    answer = await shelf.inlined("a", "b", out=True)
    assert (contents(answer), answer.stdout_raw) == ({"a": b"there"}, b"")


async def test_what_a_client_uploaded_inline_stays() -> None:
    shelf = Shelf()
    shelf.result.stdout_raw = b"said"
    await shelf.file("a", b"1")
    answer = await shelf.inlined("a", out=True, err=True)
    assert answer.stdout_raw == b"said"
