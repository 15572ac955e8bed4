"""What of a result is compared, and how two of them differ."""

from __future__ import annotations

from typing import NamedTuple

from cas.digest import Digest, DigestFunction
from protos import remote_execution_pb2 as reapi, worker_pb2


class Difference(NamedTuple):
    """One thing that two results of an action do not share.

    where: an output's path, `stdout`, `stderr` or `exit code`. first, then: what each has there,
    empty where it has nothing.
    """

    where: str
    first: str
    then: str

    def __str__(self) -> str:
        return f"{self.where}: {self.first or 'absent'} -> {self.then or 'absent'}"


class Outcome(NamedTuple):
    """A result without what may differ from run to run: times, worker, inlined copies.

    outputs: by path, what is there. streams: stdout and stderr, and the exit code.
    """

    outputs: dict[str, str]
    streams: dict[str, str]

    def differences(self, other: Outcome) -> list[Difference]:
        """Return how `other`, a later outcome, differs; outputs first, each kind by name."""
        return [
            Difference(where, first.get(where, ""), then.get(where, ""))
            for first, then in ((self.outputs, other.outputs), (self.streams, other.streams))
            for where in sorted(first.keys() | then.keys())
            if first.get(where) != then.get(where)
        ]


def outcome_of(result: reapi.ActionResult, function: DigestFunction) -> Outcome:
    """Return what of `result` is compared. function: that of its digests.

    An mtime that was asked for is told and not compared. It is no part of a file's contents, and
    changes a Tree's digest in each run: where there is one, the worker says what the directories
    would be without. Who uploads a result could say what is not true there, and only hide that
    the result differs: the first one is served all the same.
    """
    contents = _contents(result)
    outputs: dict[str, str] = {}
    for file in result.output_files:
        executable = " executable" if file.is_executable else ""
        mode = file.node_properties.unix_mode.value
        told = f" mode {mode:o}" if file.node_properties.HasField("unix_mode") else ""
        outputs[file.path] = f"{file.digest.hash}/{file.digest.size_bytes}{executable}{told}"
    for directory in result.output_directories:
        named = contents.get(directory.path) or (
            directory.tree_digest
            if directory.HasField("tree_digest")
            else directory.root_directory_digest
        )
        outputs[directory.path] = f"tree {named.hash}/{named.size_bytes}"
    for links in (
        result.output_symlinks,
        result.output_file_symlinks,
        result.output_directory_symlinks,
    ):
        outputs |= {link.path: f"symlink to {link.target}" for link in links}
    return Outcome(
        outputs,
        {
            "stdout": _stream(result.stdout_raw, result.stdout_digest, function),
            "stderr": _stream(result.stderr_raw, result.stderr_digest, function),
            "exit code": str(result.exit_code),
        },
    )


def _contents(result: reapi.ActionResult) -> dict[str, reapi.Digest]:
    """Return the Trees of output directories without times, by path. Source: worker.proto."""
    contents = worker_pb2.Contents()
    for metadata in result.execution_metadata.auxiliary_metadata:
        if metadata.Unpack(contents):
            return {each.path: each.tree_digest for each in contents.directories}
    return {}


def _stream(raw: bytes, digest: reapi.Digest, function: DigestFunction) -> str:
    """Name a stream's contents, however they are given."""
    if digest.hash:
        return f"{digest.hash}/{digest.size_bytes}" if digest.size_bytes else ""
    return str(Digest.of(raw, function)) if raw else ""
