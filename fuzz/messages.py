"""Messages that are stored as blobs and refer to others.

An input is a message too, which carries blobs. A digest without a hash in one of them stands for
the blob whose number its size is, of those that come before: so that they stay linked however
their bytes change.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence

from google.protobuf.message import DecodeError, Message

from action_cache.references import complete
from action_cache.results import Kept
from cas.digest import Digest
from cas.memory import MemoryStore
from cas.tree import TreeLimits, files, load_inputs, parse_directory, parse_tree
from cas.wire import digest_to
from fuzz.target import Target, answered
from protos import admin_pb2 as admin, remote_execution_pb2 as reapi
from re_client.pin_file import InvalidPinFile, read_pins, write_end, write_header, write_pin
from re_client.status import Refused
from re_server.actions import load_action
from re_server.get_tree import pages
from re_server.pin_message import pin_from
from worker.command import load

LIMITS = TreeLimits(depth=8, directories=50, nodes=500, paths=200, bytes=1 << 16)
MESSAGE_BYTES = 1 << 16
KINDS: tuple[Callable[[], Message], ...] = (
    reapi.Directory,
    reapi.Tree,
    reapi.Command,
    reapi.Action,
    reapi.ActionResult,
)
"""What a blob is, by the number that stands for its compressor."""


def link(message: Message, earlier: Sequence[Digest]) -> None:
    """Replace each digest without a hash by one of `earlier`."""
    if isinstance(message, reapi.Digest):
        if earlier and not message.hash:
            message.CopyFrom(digest_to(earlier[message.size_bytes % len(earlier)]))
        return
    for _, value in message.ListFields():
        inner = [value] if isinstance(value, Message) else value
        if not isinstance(inner, str | bytes | int | float):
            for each in inner:
                if isinstance(each, Message):
                    link(each, earlier)


async def stored(data: bytes) -> tuple[MemoryStore, list[Digest]]:
    """Keep the blobs that `data` carries; raise DecodeError if it is no message."""
    store, digests = MemoryStore(), list[Digest]()
    for each in reapi.BatchUpdateBlobsRequest.FromString(data).requests:
        blob, message = each.data, KINDS[each.compressor % len(KINDS)]()
        try:
            message.ParseFromString(blob)
        except DecodeError:
            pass
        else:
            link(message, digests)
            blob = message.SerializeToString(deterministic=True)
        digests.append(Digest.of(blob))
        await store.write_all(blob, digests[-1])
    return store, digests


def carrying(*messages: Message) -> bytes:
    request = reapi.BatchUpdateBlobsRequest()
    for message in messages:
        kind = KINDS.index(type(message))
        request.requests.add(
            data=message.SerializeToString(deterministic=True),
            compressor=reapi.Compressor.Value.ValueType(kind),
        )
    return request.SerializeToString()


def directory(data: bytes) -> None:
    parsed = parse_directory(data, Digest.of(data))
    assert parsed.SerializeToString(deterministic=True) == data
    names = [node.name for node in parsed.files]
    names += [node.name for node in parsed.directories]
    names += [node.name for node in parsed.symlinks]
    assert len(set(names)) == len(names)
    assert all(name not in {"", ".", ".."} and "/" not in name for name in names)


def tree(data: bytes) -> None:
    parsed = parse_tree(data, Digest.of(data))
    for each in (parsed.root, *parsed.children):
        each.DiscardUnknownFields()
        directory(each.SerializeToString(deterministic=True))


async def inputs(data: bytes) -> None:
    store, digests = await stored(data)
    for root in digests[-1:]:
        found = await answered(load_inputs(store, root, LIMITS))
        going = pages(store, root, page_size=2, page_token="", limits=LIMITS)
        told = [each async for page in going for each in page.directories]
        if found is not None:
            assert {Digest.of(each.SerializeToString(deterministic=True)) for each in told} == set(
                found.directories
            )
            assert found.files == {
                file for each in found.directories.values() for file in files(each, root.function)
            }


async def action(data: bytes) -> None:
    store, digests = await stored(data)
    for named in digests[-1:]:
        await answered(load_action(store, named, max_bytes=MESSAGE_BYTES))
        loaded = await load(store, named, LIMITS, max_message_bytes=MESSAGE_BYTES)
        for path in (loaded.working_directory, *(output.path for output in loaded.outputs)):
            assert not path.startswith("/")
            assert ".." not in path.split("/")


async def result(data: bytes) -> None:
    store, digests = await stored(data)
    for named in digests[-1:]:
        message = reapi.ActionResult.FromString(await store.read_all(named))
        kept = await complete(message, named.function, store, LIMITS)
        assert not await store.find_missing(kept.references)
        assert kept.result == message


def pin_file(data: bytes) -> None:
    try:
        pins = [pin for pin, _ in read_pins(io.BytesIO(data))]
    except InvalidPinFile:
        return
    again = _written(*pins)
    assert [pin for pin, _ in read_pins(io.BytesIO(again))] == pins
    for pin in pins:
        try:
            pin_from(pin, Kept(b"", frozenset()))
        except Refused:
            continue


def _written(*pins: admin.Pin) -> bytes:
    file = io.BytesIO()
    write_header(file)
    for pin in pins:
        write_pin(file, pin)
    write_end(file)
    return file.getvalue()


def _earlier(number: int) -> reapi.Digest:
    return reapi.Digest(size_bytes=number)


def _leaf(*, linked: bool = True) -> reapi.Directory:
    digest = _earlier(0) if linked else digest_to(Digest.of(b"a"))
    properties = reapi.NodeProperties(properties=[reapi.NodeProperty(name="a", value="b")])
    return reapi.Directory(
        files=[
            reapi.FileNode(name="a", digest=digest, is_executable=True),
            reapi.FileNode(name="b", digest=digest, node_properties=properties),
        ],
        symlinks=[reapi.SymlinkNode(name="l", target="../a")],
    )


def _above(*children: int) -> reapi.Directory:
    return reapi.Directory(
        directories=[
            reapi.DirectoryNode(name=f"d{at}", digest=_earlier(child))
            for at, child in enumerate(children)
        ]
    )


def _directories() -> Iterator[bytes]:
    yield b""
    yield _leaf(linked=False).SerializeToString(deterministic=True)
    yield reapi.Directory(
        directories=[reapi.DirectoryNode(name="d", digest=digest_to(Digest.of(b"")))]
    ).SerializeToString(deterministic=True)


def _trees() -> Iterator[bytes]:
    leaf = _leaf(linked=False)
    named = digest_to(Digest.of(leaf.SerializeToString(deterministic=True)))
    root = reapi.Directory(directories=[reapi.DirectoryNode(name="d", digest=named)])
    yield reapi.Tree(root=leaf).SerializeToString(deterministic=True)
    yield reapi.Tree(root=root, children=[leaf]).SerializeToString(deterministic=True)


def _inputs() -> Iterator[bytes]:
    empty = reapi.Directory()
    yield carrying(empty)
    yield carrying(empty, _leaf(), _above(1), _above(1, 2))
    yield carrying(empty, *(_above(at, at, at) for at in range(9)))


def _actions() -> Iterator[bytes]:
    variables = [reapi.Command.EnvironmentVariable(name="PATH", value="/bin")]
    properties = [reapi.Platform.Property(name="OSFamily", value="linux")]
    command = reapi.Command(
        arguments=["/bin/sh", "-c", "cd a && exec gcc -c b.c"],
        environment_variables=variables,
        platform=reapi.Platform(properties=properties),
    )
    command.output_paths.extend(["out", "d/../out2", "../x"])
    older = reapi.Command(arguments=["env", "-u", "A", "B=c", "cc"], working_directory="d/e")
    older.output_files.append("../a")
    older.output_directories.append("a")
    named = reapi.Action(command_digest=_earlier(1), input_root_digest=_earlier(0))
    named.timeout.seconds = 60
    yield carrying(reapi.Directory(), command, named)
    named.platform.properties.add(name="holdfast-determinism", value="strict")
    named.platform.properties.add(name="holdfast-canonicalise", value="all")
    yield carrying(reapi.Directory(), older, named)


def _results() -> Iterator[bytes]:
    outcome = reapi.ActionResult(
        output_files=[reapi.OutputFile(path="a", digest=_earlier(0))],
        stdout_digest=_earlier(0),
        stderr_raw=b"warning",
    )
    yield carrying(reapi.Directory(), outcome)
    outcome.output_directories.add(path="d", tree_digest=_earlier(2))
    yield carrying(reapi.Directory(), _leaf(), reapi.Tree(root=_leaf()), outcome)
    outcome.output_directories.add(path="e", root_directory_digest=_earlier(1))
    outcome.output_directories[0].root_directory_digest.CopyFrom(_earlier(1))
    yield carrying(reapi.Directory(), _leaf(), reapi.Tree(root=_leaf()), outcome)


def _pin_files() -> Iterator[bytes]:
    pin = admin.Pin(
        instance_name="main",
        action_digest=digest_to(Digest.of(b"a")),
        result=reapi.ActionResult(stdout_raw=b"out"),
        origin=admin.Origin(target="//a:b", program="gcc"),
        revision=2,
    )
    pin.pinned.FromSeconds(1_800_000_000)
    yield _written()
    yield _written(pin)
    yield _written(pin, admin.Pin())


TARGETS = {
    "directory": Target(directory, _directories),
    "tree": Target(tree, _trees),
    "inputs": Target(inputs, _inputs),
    "action": Target(action, _actions),
    "result": Target(result, _results),
    "pin_file": Target(pin_file, _pin_files),
}
