"""Two results of one action, opened down to the bytes of their outputs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from cas.digest import Digest, DigestFunction
from cas.store import BlobNotFound, BlobStore
from cas.tree import (
    InvalidMessage,
    MissingInputs,
    TreeLimits,
    TreeTooLarge,
    load_inputs,
    parse_tree,
)
from cas.wire import digest_from
from determinism.outcome import Difference, outcome_of
from protos import remote_execution_pb2 as reapi

COMPARED_BYTES = 64 << 20  # of one output; larger ones are compared by their digests alone


class Pair(NamedTuple):
    """One thing that two results do not share, and its bytes in both, where there are any."""

    difference: Difference
    first: bytes | None
    then: bytes | None


class _What(NamedTuple):
    """What is at one place of a result: in words, as in an Outcome, and its blob."""

    text: str
    blob: Digest | None = None


class Comparison:
    """Reads what two results refer to. limits: bounds on output directories."""

    def __init__(self, blobs: BlobStore, function: DigestFunction, limits: TreeLimits) -> None:
        self._blobs = blobs
        self._function = function
        self._limits = limits

    async def pairs(
        self, first: reapi.ActionResult, then: reapi.ActionResult
    ) -> AsyncIterator[Pair]:
        """Yield what differs, by name; output directories are opened.

        What cannot be read any more, or is too large, comes without its bytes.
        """
        ours, theirs = await self._all(first), await self._all(then)
        nothing = _What("")
        for where in sorted(ours.keys() | theirs.keys()):
            one, other = ours.get(where, nothing), theirs.get(where, nothing)
            if one.text != other.text:
                difference = Difference(where, one.text, other.text)
                yield Pair(difference, await self._read(one), await self._read(other))

    async def _read(self, what: _What) -> bytes | None:
        if what.blob is None or what.blob.size > COMPARED_BYTES:
            return None
        try:
            return await self._blobs.read_all(what.blob)
        except BlobNotFound:
            return None

    async def _all(self, result: reapi.ActionResult) -> dict[str, _What]:
        outcome = outcome_of(result, self._function)
        found = {where: _What(text) for where, text in (outcome.outputs | outcome.streams).items()}
        for file in result.output_files:
            found[file.path] = self._file(file.digest, executable=file.is_executable)
        for name, named in (("stdout", result.stdout_digest), ("stderr", result.stderr_digest)):
            if named.size_bytes:
                found[name] = self._file(named, executable=False)
        for directory in result.output_directories:
            try:
                below = {path: what async for path, what in self._directory(directory)}
            except (BlobNotFound, MissingInputs, InvalidMessage, TreeTooLarge):
                continue
            del found[directory.path]
            found |= {f"{directory.path}/{path}": what for path, what in below.items()}
        return found

    def _file(self, named: reapi.Digest, *, executable: bool) -> _What:
        suffix = " executable" if executable else ""
        blob = digest_from(named, self._function)
        return _What(f"{blob}{suffix}", blob)

    async def _directory(self, output: reapi.OutputDirectory) -> AsyncIterator[tuple[str, _What]]:
        root, below = await self._tree(output)
        pending = [("", root)]
        while pending:
            prefix, directory = pending.pop()
            for file in directory.files:
                yield f"{prefix}{file.name}", self._file(file.digest, executable=file.is_executable)
            for link in directory.symlinks:
                yield f"{prefix}{link.name}", _What(f"symlink to {link.target}")
            for node in directory.directories:
                yield f"{prefix}{node.name}/", _What("directory")
                child = below.get(digest_from(node.digest, self._function))
                if child is not None:
                    pending.append((f"{prefix}{node.name}/", child))

    async def _tree(
        self, output: reapi.OutputDirectory
    ) -> tuple[reapi.Directory, dict[Digest, reapi.Directory]]:
        if not output.HasField("tree_digest"):
            named = digest_from(output.root_directory_digest, self._function)
            inputs = await load_inputs(self._blobs, named, self._limits)
            return inputs.directory(named), dict(inputs.directories)
        named = digest_from(output.tree_digest, self._function)
        if named.size > self._limits.bytes:
            raise TreeTooLarge(f"Tree {named} has more than {self._limits.bytes} bytes")
        tree = parse_tree(await self._blobs.read_all(named), named)
        children = {
            Digest.of(child.SerializeToString(deterministic=True), self._function): child
            for child in tree.children
        }
        return tree.root, children


def output_of(result: reapi.ActionResult, where: str) -> str:
    """Return the place as an Outcome has it: all that is in an output directory is one place."""
    for directory in result.output_directories:
        if where.startswith(f"{directory.path}/"):
            return directory.path
    return where
