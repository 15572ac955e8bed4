"""Input trees, written down as mappings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cas.digest import Digest, DigestFunction
from cas.store import BlobStore
from cas.wire import digest_to
from protos import remote_execution_pb2 as reapi


@dataclass(frozen=True)
class Program:
    """An input file that can be executed."""

    data: bytes


@dataclass(frozen=True)
class Link:
    """An input that is a symbolic link."""

    target: str


Input = bytes | Program | Link | None  # None: an empty directory
Inputs = Mapping[str, Input]


async def put(
    store: BlobStore, data: bytes, function: DigestFunction = DigestFunction.SHA256
) -> Digest:
    digest = Digest.of(data, function)
    await store.write_all(data, digest)
    return digest


async def put_tree(
    store: BlobStore, inputs: Inputs, function: DigestFunction = DigestFunction.SHA256
) -> Digest:
    """Put an input tree; paths have `/` between segments."""
    below: dict[str, dict[str, Input]] = {}
    directory = reapi.Directory()
    for path, content in sorted(inputs.items(), key=lambda item: item[0].encode()):
        name, _, rest = path.partition("/")
        if rest:
            below.setdefault(name, {})[rest] = content
        elif content is None:
            below.setdefault(name, {})
        elif isinstance(content, Link):
            directory.symlinks.add(name=name, target=content.target)
        else:
            data = content.data if isinstance(content, Program) else content
            directory.files.add(
                name=name,
                digest=digest_to(await put(store, data, function)),
                is_executable=isinstance(content, Program),
            )
    for name in sorted(below, key=str.encode):
        digest = await put_tree(store, below[name], function)
        directory.directories.add(name=name, digest=digest_to(digest))
    return await put(store, directory.SerializeToString(deterministic=True), function)
