from __future__ import annotations

import pytest

from cas.digest import Digest, DigestFunction
from cas.wire import digest_to
from determinism.outcome import Difference, outcome_of
from protos import remote_execution_pb2 as reapi


def digest(data: bytes, function: DigestFunction = DigestFunction.SHA256) -> reapi.Digest:
    return digest_to(Digest.of(data, function))


def named(data: bytes) -> str:
    return str(Digest.of(data))


def difference(
    first: reapi.ActionResult,
    then: reapi.ActionResult,
    function: DigestFunction = DigestFunction.SHA256,
) -> list[Difference]:
    return outcome_of(first, function).differences(outcome_of(then, function))


def with_file(path: str, data: bytes, *, executable: bool = False) -> reapi.ActionResult:
    result = reapi.ActionResult()
    result.output_files.add(path=path, digest=digest(data), is_executable=executable)
    return result


def test_times_worker_and_inlined_copies_are_no_difference() -> None:
    first, then = with_file("out", b"1"), with_file("out", b"1")
    then.execution_metadata.worker = "another"
    then.execution_metadata.worker_start_timestamp.FromSeconds(1_800_000_000)
    then.execution_metadata.auxiliary_metadata.add(type_url="x", value=b"y")
    then.output_files[0].contents = b"1"
    assert difference(first, then) == []


def test_the_order_of_outputs_is_no_difference() -> None:
    first, then = with_file("a", b"1"), with_file("b", b"2")
    first.MergeFrom(with_file("b", b"2"))
    then.MergeFrom(with_file("a", b"1"))
    assert difference(first, then) == []


def test_each_path_that_differs_is_named_with_both_sides() -> None:
    first = with_file("changed", b"1")
    first.MergeFrom(with_file("gone", b"2"))
    then = with_file("changed", b"3")
    then.MergeFrom(with_file("added", b"4"))
    assert difference(first, then) == [
        Difference("added", "", named(b"4")),
        Difference("changed", named(b"1"), named(b"3")),
        Difference("gone", named(b"2"), ""),
    ]


def test_an_executable_bit_is_a_difference() -> None:
    (found,) = difference(with_file("out", b"1"), with_file("out", b"1", executable=True))
    assert str(found) == f"out: {named(b'1')} -> {named(b'1')} executable"


def test_an_output_that_is_not_there_is_said_to_be_absent() -> None:
    (found,) = difference(with_file("out", b"1"), reapi.ActionResult())
    assert str(found) == f"out: {named(b'1')} -> absent"


def test_directories_differ_by_their_trees_else_by_their_roots() -> None:
    first, then = reapi.ActionResult(), reapi.ActionResult()
    first.output_directories.add(path="d", tree_digest=digest(b"1"))
    then.output_directories.add(path="d", tree_digest=digest(b"2"))
    assert difference(first, then) == [
        Difference("d", f"tree {named(b'1')}", f"tree {named(b'2')}")
    ]
    first.output_directories[0].ClearField("tree_digest")
    then.output_directories[0].ClearField("tree_digest")
    first.output_directories[0].root_directory_digest.CopyFrom(digest(b"3"))
    then.output_directories[0].root_directory_digest.CopyFrom(digest(b"4"))
    assert difference(first, then) == [
        Difference("d", f"tree {named(b'3')}", f"tree {named(b'4')}")
    ]


@pytest.mark.parametrize(
    "field", ["output_symlinks", "output_file_symlinks", "output_directory_symlinks"]
)
def test_links_differ_by_their_targets(field: str) -> None:
    first, then = reapi.ActionResult(), reapi.ActionResult()
    getattr(first, field).add(path="l", target="here")
    getattr(then, field).add(path="l", target="there")
    assert difference(first, then) == [Difference("l", "symlink to here", "symlink to there")]


def test_a_file_that_becomes_a_link_is_a_difference() -> None:
    then = reapi.ActionResult()
    then.output_symlinks.add(path="out", target="x")
    assert difference(with_file("out", b"1"), then) == [
        Difference("out", named(b"1"), "symlink to x")
    ]


def test_streams_and_the_exit_code_come_after_the_outputs() -> None:
    first, then = with_file("z", b"1"), with_file("z", b"2")
    then.stdout_digest.CopyFrom(digest(b"said"))
    then.stderr_raw = b"wrong"
    then.exit_code = 3
    assert [(each.where, each.first, each.then) for each in difference(first, then)] == [
        ("z", named(b"1"), named(b"2")),
        ("exit code", "0", "3"),
        ("stderr", "", named(b"wrong")),
        ("stdout", "", named(b"said")),
    ]


@pytest.mark.parametrize("function", DigestFunction)
def test_a_stream_is_the_same_inline_and_as_a_blob(function: DigestFunction) -> None:
    inline = reapi.ActionResult(stdout_raw=b"said", stderr_raw=b"wrong")
    blobs = reapi.ActionResult(
        stdout_digest=digest(b"said", function), stderr_digest=digest(b"wrong", function)
    )
    assert difference(inline, blobs, function) == []
    inline.stdout_raw = b"else"
    assert [each.where for each in difference(inline, blobs, function)] == ["stdout"]


def test_an_empty_stream_is_the_same_however_it_is_not_there() -> None:
    empty = reapi.ActionResult(stdout_digest=digest(b""), stderr_raw=b"")
    assert difference(reapi.ActionResult(), empty) == []
