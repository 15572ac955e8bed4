"""Directories that nobody should have made: GetTree and Execute live on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

from grpc import StatusCode

from conformance import methods, needs
from conformance.actions import execute, platform_of, put_action, script
from conformance.check import ROBUSTNESS, Section
from conformance.memory import MIB, bounded_memory
from conformance.raw import delimited, numbered
from conformance.refusal import BAD_INPUT, CODES, Refused
from conformance.target import Target, unique
from conformance.trees import deep_tree, doubling_tree, put_tree, wide_tree
from conformance.violation import Violation, expect
from protos import remote_execution_pb2 as reapi

check = Section("robustness", (needs.cache,))

LEVELS = 20  # of the doubling tree: a million paths
DEPTH = 10_000
MOST_DIRECTORIES = 200_000  # that GetTree may give of a tree that has 21 different ones
MOST_BYTES = 512 * MIB
SLOW_SECONDS = 120.0
EXECUTION = [needs.execution]
ONE_SEGMENT = "Directory, l.918-919"


async def _counted(target: Target, root: reapi.Digest) -> int:
    """Return how many directories GetTree gives, or 0 if it refuses."""
    request = target.named(reapi.GetTreeRequest(root_digest=root))
    directories = 0
    try:
        async with aclosing(target.stream(methods.GET_TREE, request)) as pages:
            async for page in pages:
                directories += len(page.directories)
                if directories > MOST_DIRECTORIES:
                    raise Violation(f"GetTree has given {directories} directories, and goes on")
    except Refused as error:
        expect(error.code in BAD_INPUT, f"{error.code.name} was answered")
    return directories


async def _executed(target: Target, root: reapi.Digest, text: str = "true") -> StatusCode:
    """Execute on `root`; return OK if the action ran, else why not."""
    command = script(text)
    command.platform.CopyFrom(platform_of(target))
    action = reapi.Action(
        command_digest=await target.put_message(command),
        input_root_digest=root,
        platform=platform_of(target),
        salt=unique(8),
    )
    try:
        response = (await execute(target, await target.put_message(action))).response
    except Refused as error:
        return error.code
    return CODES[response.status.code]


async def _expect_refused_or_run(target: Target, root: reapi.Digest) -> None:
    code = await _executed(target, root)
    allowed = {StatusCode.OK, StatusCode.DEADLINE_EXCEEDED, *BAD_INPUT}
    expect(code in allowed, f"{code.name} was answered")


async def _expect_not_run(target: Target, *roots: bytes) -> None:
    for root in roots:
        code = await _executed(target, await target.put_one(root))
        expect(code in BAD_INPUT, f"{code.name} was answered to {root[:60]!r}")


@check(
    ROBUSTNESS,
    "GetTree of a million paths to 21 directories gives each directory, not each path.",
    source="ContentAddressableStorage.GetTree, l.416-439",
)
async def shared_directories_are_told_once(target: Target) -> None:
    root = await put_tree(target, doubling_tree(target.function, LEVELS))
    with bounded_memory(target, MOST_BYTES):
        await _counted(target, root)


@check(
    ROBUSTNESS,
    "GetTree of folders 10,000 deep is answered.",
    source="ContentAddressableStorage.GetTree, l.416-439",
)
async def deep_trees_are_told(target: Target) -> None:
    root = await put_tree(target, deep_tree(target.function, DEPTH))
    with bounded_memory(target, MOST_BYTES):
        await _counted(target, root)


@check(
    ROBUSTNESS,
    "GetTree takes any number for a page size: too large ones and negative ones too.",
    source="GetTreeRequest.page_size, l.1932-1936",
)
async def page_sizes_may_be_anything(target: Target) -> None:
    root = await put_tree(target, wide_tree(target.function, 5))
    for size in ((1 << 31) - 1, -1, -(1 << 31)):
        request = target.named(reapi.GetTreeRequest(root_digest=root, page_size=size))
        try:
            await target.collect(methods.GET_TREE, request)
        except Refused as error:
            expect(error.code in BAD_INPUT, f"{error.code.name} was answered to {size}")


@check(
    ROBUSTNESS,
    "GetTree of a Directory whose nodes have no digests is answered or refused.",
    source="DirectoryNode.digest, l.1052-1056",
)
async def nodes_without_digests_are_no_end(target: Target) -> None:
    root = reapi.Directory()
    root.files.add(name="f")
    root.directories.add(name="d")
    await _counted(target, await target.put_message(root))


@check(
    ROBUSTNESS,
    "GetTree of a Directory that names what is no Directory is answered or refused.",
    source="DirectoryNode.digest, l.1052-1056",
)
async def children_may_be_no_directories(target: Target) -> None:
    root = reapi.Directory()
    root.directories.add(name="d", digest=await target.put_one(b"\xff" * 40))
    root.directories.add(name="e", digest=reapi.Digest(hash="../../x", size_bytes=-1))
    await _counted(target, await target.put_message(root))


@check(
    ROBUSTNESS,
    "Execute on a million paths is refused, or done, within bounded time.",
    source="Action.input_root_digest, l.614-621",
    needs=EXECUTION,
    seconds=SLOW_SECONDS,
)
async def a_million_paths_are_refused_or_made(target: Target) -> None:
    root = await put_tree(target, doubling_tree(target.function, LEVELS))
    with bounded_memory(target, 2 * MOST_BYTES):
        await _expect_refused_or_run(target, root)


@check(
    ROBUSTNESS,
    "Execute on folders 2,000 deep is refused, or done.",
    source="Action.input_root_digest, l.614-621",
    needs=EXECUTION,
    seconds=SLOW_SECONDS,
)
async def deep_inputs_are_refused_or_made(target: Target) -> None:
    root = await put_tree(target, deep_tree(target.function, DEPTH // 5))
    with bounded_memory(target, MOST_BYTES):
        await _expect_refused_or_run(target, root)


@check(
    ROBUSTNESS,
    "Execute refuses an input root whose nodes have no digests.",
    source="FileNode.digest, l.1032-1033; DirectoryNode.digest, l.1052-1056",
    needs=EXECUTION,
)
async def inputs_without_digests_are_refused(target: Target) -> None:
    file, folder = reapi.Directory(), reapi.Directory()
    file.files.add(name="f")
    folder.directories.add(name="d")
    await _expect_not_run(target, file.SerializeToString(), folder.SerializeToString())


def _root_of_file(name: bytes, digest: reapi.Digest) -> bytes:
    """Return a Directory with a file of a name that need not be text."""
    node = delimited(1, name) + delimited(2, digest.SerializeToString())
    return delimited(1, node)


async def _roots(target: Target, names: Sequence[bytes]) -> list[bytes]:
    digest = await target.put_one(unique())
    return [_root_of_file(name, digest) for name in names]


@check(
    ROBUSTNESS,
    "Execute refuses input files whose names lead elsewhere: `..`, `.`, slashes, nothing.",
    source=ONE_SEGMENT,
    needs=EXECUTION,
)
async def names_that_lead_elsewhere_are_refused(target: Target) -> None:
    names = (b"..", b".", b"", b"/etc/x", b"../x", b"a/../../x", b"a/b")
    await _expect_not_run(target, *await _roots(target, names))


@check(
    ROBUSTNESS,
    "Execute refuses input files whose names no file can have: with NUL, too long.",
    source=ONE_SEGMENT,
    needs=EXECUTION,
)
async def names_that_no_file_has_are_refused(target: Target) -> None:
    await _expect_not_run(target, *await _roots(target, (b"a\x00b", b"n" * 5000)))


@check(
    ROBUSTNESS,
    "Execute refuses input files whose names are no UTF-8.",
    source="proto3, strings",
    needs=EXECUTION,
)
async def names_that_are_no_text_are_refused(target: Target) -> None:
    await _expect_not_run(target, *await _roots(target, (b"\xff\xfe", b"\xc3\x28")))


@check(
    ROBUSTNESS,
    "Execute refuses folders and symlinks of the input root whose names lead elsewhere.",
    source=ONE_SEGMENT,
    needs=EXECUTION,
)
async def other_nodes_that_lead_elsewhere_are_refused(target: Target) -> None:
    folder, link = reapi.Directory(), reapi.Directory()
    folder.directories.add(name="..", digest=target.digest(b""))
    link.symlinks.add(name="../link", target="/etc")
    await _expect_not_run(target, folder.SerializeToString(), link.SerializeToString())


@check(
    ROBUSTNESS,
    "Execute refuses an input root in which one name stands twice, or runs.",
    source="Directory, l.920-925",
    needs=EXECUTION,
)
async def a_name_that_stands_twice_does_no_harm(target: Target) -> None:
    root = reapi.Directory()
    digest = await target.put_one(unique())
    root.files.add(name="same", digest=digest)
    root.directories.add(name="same", digest=target.digest(b""))
    await _expect_refused_or_run(target, await target.put_message(root))


@check(
    ROBUSTNESS,
    "Execute refuses an input file of a size that it does not have.",
    source="Digest, l.1083-1085",
    needs=EXECUTION,
)
async def inputs_of_a_wrong_size_are_refused(target: Target) -> None:
    digest = await target.put_one(unique())
    sizes = (digest.size_bytes + 1, (1 << 63) - 1)
    roots = [
        delimited(
            1,
            delimited(1, b"f")
            + delimited(2, delimited(1, digest.hash.encode()) + numbered(2, size)),
        )
        for size in sizes
    ]
    await _expect_not_run(target, *roots)


@check(
    ROBUSTNESS,
    "Execute refuses outputs that lead out of the input root.",
    source="Command.output_paths, l.777-805",
    needs=EXECUTION,
)
async def outputs_that_lead_elsewhere_are_refused(target: Target) -> None:
    for path in ("../x", "/etc/passwd", "a/../../x"):
        command = reapi.Command(arguments=["/bin/true"], output_paths=[path])
        action = await put_action(target, command)
        try:
            response = (await execute(target, action)).response
            code, result = CODES[response.status.code], response.result
        except Refused as error:
            code, result = error.code, reapi.ActionResult()
        expect(code in {StatusCode.OK, *BAD_INPUT}, f"{code.name} was answered to {path}")
        expect(not result.output_files, f"a file is given for {path}")


@check(
    ROBUSTNESS,
    "Execute refuses a working directory that leads out of the input root, or is not there.",
    source="Command.working_directory, l.817-820",
    needs=EXECUTION,
)
async def working_directories_elsewhere_are_refused(target: Target) -> None:
    for path in ("..", "/etc", "not/there", "a\x00b"):
        command = script("true")
        command.working_directory = path
        try:
            response = (await execute(target, await put_action(target, command))).response
        except Refused as error:
            expect(error.code in BAD_INPUT, f"{error.code.name} was answered to {path!r}")
            continue
        failed = response.status.code or response.result.exit_code
        expect(failed, f"the action ran in {path!r}")
