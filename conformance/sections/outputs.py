"""What comes back from an action."""

from __future__ import annotations

from grpc import StatusCode

from conformance import methods, needs
from conformance.actions import (
    Executed,
    Inputs,
    execute,
    outputs_of,
    paths_of,
    put_action,
    request_for,
    run,
    script,
    tree_of,
    unexecuted,
)
from conformance.check import MUST, SHOULD, Section
from conformance.digests import key
from conformance.raw import numbered
from conformance.refusal import CODES, Refused
from conformance.target import Target
from conformance.trees import encoded
from conformance.violation import NotApplicable, expect
from protos import remote_execution_pb2 as reapi

check = Section("execution", (needs.execution,))

_PATHS = [needs.version(2, 1)]
_FORMAT = reapi.Command.OutputDirectoryFormat
_STRATEGY = reapi.SymlinkAbsolutePathStrategy
MAKE_TREE = "mkdir -p out/sub/deep; echo 1 > out/a; echo 2 > out/sub/b; echo 3 > out/sub/deep/c"


@check(
    MUST,
    "Files of output_paths come back with their bytes, and whether they are executable.",
    source="Command.output_paths, l.777-805; ActionResult.output_files, l.1187-1198",
    needs=_PATHS,
)
async def output_files_come_back(target: Target) -> None:
    text = "printf plain > a; printf tool > b; chmod +x b"
    result = (await run(target, text, "a", "b")).result
    expect(await outputs_of(target, result) == {"a": b"plain", "b": b"tool"}, "other outputs")
    executable = {each.path: each.is_executable for each in result.output_files}
    expect(executable == {"a": False, "b": True}, f"executable: {executable}")


@check(
    MUST,
    "Folders of output_paths come back as a Tree with all that is in them.",
    source="Command.output_paths, l.777-805; ActionResult.output_directories, l.1236-1298",
    needs=_PATHS,
)
async def output_directories_come_back(target: Target) -> None:
    result = (await run(target, MAKE_TREE, "out")).result
    files = paths_of(target, await tree_of(target, result, "out"))
    expect(set(files) == {"a", "sub/b", "sub/deep/c"}, f"the Tree has {sorted(files)}")
    for path, data in (("a", b"1\n"), ("sub/b", b"2\n"), ("sub/deep/c", b"3\n")):
        expect(await target.fetch(files[path].digest) == data, f"{path} has other bytes")


@check(
    MUST,
    "Symlinks of output_paths come back in output_symlinks, not followed.",
    source="ActionResult.output_symlinks, l.1220-1234",
    needs=_PATHS,
)
async def output_symlinks_come_back(target: Target) -> None:
    result = (await run(target, "echo > file; ln -s file link", "link")).result
    links = {each.path: each.target for each in result.output_symlinks}
    expect(links == {"link": "file"}, f"output_symlinks: {links}")
    expect(not result.output_files, "the link's target is among the files")


@check(
    MUST,
    "An output that the action did not make is left out, and no error.",
    source="ActionResult.output_files, l.1187-1198",
)
async def absent_outputs_are_left_out(target: Target) -> None:
    result = (await run(target, "echo > made", "made", "not-made")).result
    paths = [each.path for each in result.output_files]
    expect(paths == ["made"], f"output_files: {paths}")


@check(
    MUST,
    "What is not among the outputs is discarded.",
    source="Command.output_paths, l.777-805",
)
async def other_files_are_discarded(target: Target) -> None:
    result = (await run(target, "echo > made; mkdir other; echo > other/f", "made")).result
    paths = [each.path for each in result.output_files]
    paths += [each.path for each in result.output_directories]
    expect(paths == ["made"], f"outputs: {paths}")


@check(
    MUST,
    "Folders that lead to an output are there before the command runs.",
    source="Command.output_paths, l.800-801",
    needs=_PATHS,
)
async def parents_of_outputs_are_made(target: Target) -> None:
    result = (await run(target, "printf x > some/folder/out", "some/folder/out")).result
    expect(await outputs_of(target, result) == {"some/folder/out": b"x"}, "other outputs")


@check(
    MUST,
    "Output paths are relative to the working directory, and named so in the result.",
    source="Command.output_paths, l.777-805; OutputFile.path, l.1358-1361",
    needs=_PATHS,
)
async def outputs_are_relative_to_the_working_directory(target: Target) -> None:
    command = script("printf x > sub/out", "sub/out")
    command.working_directory = "work/here"
    inputs = Inputs({"work/here": None})
    result = (await execute(target, await put_action(target, command, inputs))).result
    expect(await outputs_of(target, result) == {"sub/out": b"x"}, "other outputs")


@check(
    MUST,
    "output_files and output_directories of clients before 2.1 come back.",
    source="Command.output_files, l.721-744; Command.output_directories, l.746-775",
    needs=[needs.old_clients],
)
async def outputs_of_old_clients_come_back(target: Target) -> None:
    command = script(f"{MAKE_TREE}; printf x > file")
    command.output_files.append("file")
    command.output_directories.append("out")
    result = (await execute(target, await put_action(target, command))).result
    expect(await outputs_of(target, result) == {"file": b"x"}, "other files")
    files = paths_of(target, await tree_of(target, result, "out"))
    expect(set(files) == {"a", "sub/b", "sub/deep/c"}, f"the Tree has {sorted(files)}")


@check(
    MUST,
    "Folders that lead to output_files and to output_directories are there before the command "
    "runs; output directories themselves are not made.",
    source="Command.output_files, l.721-744; Command.output_directories, l.746-775",
    needs=[needs.old_clients],
)
async def parents_of_old_outputs_are_made(target: Target) -> None:
    command = script("printf x > a/b/file; test -d c/d && test ! -e c/d/dir && mkdir c/d/dir")
    command.output_files.append("a/b/file")
    command.output_directories.append("c/d/dir")
    result = (await execute(target, await put_action(target, command))).result
    expect(result.exit_code == 0, f"exit code {result.exit_code}: a folder is missing or too many")
    expect(len(result.output_directories) == 1, "the output directory is not given")


@check(
    MUST,
    "output_files and output_directories are ignored where output_paths is used.",
    source="Command.output_paths, l.803-805",
    needs=_PATHS,
)
async def output_paths_come_first(target: Target) -> None:
    command = script("echo > a; echo > b", "a")
    command.output_files.append("b")
    result = (await execute(target, await put_action(target, command))).result
    paths = [each.path for each in result.output_files]
    expect(paths == ["a"], f"output_files: {paths}")


@check(
    MUST,
    "An output of output_files that is a folder is FAILED_PRECONDITION.",
    source="ActionResult.output_files, l.1187-1198",
    needs=[needs.old_clients],
)
async def a_folder_is_no_output_file(target: Target) -> None:
    command = script("mkdir out")
    command.output_files.append("out")
    status = await unexecuted(target, await put_action(target, command))
    code = CODES[status.code]
    expect(code == StatusCode.FAILED_PRECONDITION, f"{code.name} was answered")


@check(
    MUST,
    "An empty folder among the outputs comes back as an empty Tree.",
    source="ActionResult.output_directories, l.1236-1298",
    needs=_PATHS,
)
async def empty_directories_come_back(target: Target) -> None:
    result = (await run(target, "mkdir -p out/empty", "out")).result
    tree = await tree_of(target, result, "out")
    expect([each.name for each in tree.root.directories] == ["empty"], "the folder is not in it")
    paths_of(target, tree)


@check(
    MUST,
    "All that the result of an execution refers to is in the CAS.",
    source="ActionResult.stdout_digest, l.1331-1334; OutputDirectory.tree_digest, l.1413-1416",
    needs=_PATHS,
)
async def outputs_are_in_the_cas(target: Target) -> None:
    result = (await run(target, f"{MAKE_TREE}; echo said; echo > f", "out", "f")).result
    files = paths_of(target, await tree_of(target, result, "out"))
    digests = [each.digest for each in files.values()]
    digests += [each.digest for each in result.output_files]
    if result.HasField("stdout_digest"):
        digests.append(result.stdout_digest)
    missing = await target.find_missing(*digests)
    expect(not missing, f"{len(missing)} of {len(digests)} blobs are missing")


@check(
    SHOULD,
    "The same output folder gives the same Tree.",
    source="Tree.children, l.1391-1398",
    needs=_PATHS,
)
async def equal_directories_are_equal_trees(target: Target) -> None:
    results = [(await run(target, f"{MAKE_TREE}; : {i}", "out")).result for i in range(2)]
    hashes = {result.output_directories[0].tree_digest.hash for result in results}
    expect(len(hashes) == 1, "two runs gave two Trees")


@check(
    MUST,
    "Directories of a Tree are in canonical form: sorted, each name once.",
    source="Directory, l.906-982",
    needs=_PATHS,
)
async def trees_are_canonical(target: Target) -> None:
    text = "mkdir -p out/b out/a; touch out/z out/y out/é out/Z; ln -s y out/n; ln -s z out/m"
    tree = await tree_of(target, (await run(target, text, "out")).result, "out")
    for directory in (tree.root, *tree.children):
        for nodes in (directory.files, directory.directories, directory.symlinks):
            names = [node.name.encode() for node in nodes]
            expect(names == sorted(set(names)), f"names in this order: {names}")


@check(
    MUST,
    "A Tree that is said to be topologically sorted is: no directory twice, parents first.",
    source="OutputDirectory.is_topologically_sorted, l.1417-1452",
    needs=_PATHS,
)
async def sorted_trees_are_sorted(target: Target) -> None:
    text = "for d in a b c; do mkdir -p out/$d/same; echo 1 > out/$d/same/f; done"
    result = (await run(target, text, "out")).result
    (directory,) = result.output_directories
    if not directory.is_topologically_sorted:
        raise NotApplicable("the server does not call its Trees topologically sorted")
    raw = await target.fetch(directory.tree_digest)
    tree = reapi.Tree.FromString(raw)
    expect(raw[:1] == b"\x0a", "the root is not the first record")
    hashes = [target.digest(encoded(each)).hash for each in tree.children]
    expect(len(hashes) == len(set(hashes)), "a directory stands twice")
    known = {node.digest.hash for node in tree.root.directories}
    for hash, child in zip(hashes, tree.children, strict=True):
        expect(hash in known, "a directory stands before its parent, or has none")
        known |= {node.digest.hash for node in child.directories}


async def _directory(
    target: Target, format: reapi.Command.OutputDirectoryFormat.ValueType
) -> reapi.OutputDirectory:
    command = script(MAKE_TREE, "out")
    command.output_directory_format = format
    result = (await execute(target, await put_action(target, command))).result
    (directory,) = result.output_directories
    return directory


@check(
    MUST,
    "A root directory that a result names beside a Tree is the Tree's root.",
    source="OutputDirectory, l.1454-1461",
    needs=[needs.version(2, 3)],
)
async def both_forms_agree(target: Target) -> None:
    directory = await _directory(target, _FORMAT.TREE_AND_DIRECTORY)
    if not (directory.HasField("tree_digest") and directory.HasField("root_directory_digest")):
        raise NotApplicable("the server does not give both forms")
    tree = reapi.Tree.FromString(await target.fetch(directory.tree_digest))
    root = target.digest(encoded(tree.root))
    expect(key(root) == key(directory.root_directory_digest), "it is another directory")


@check(
    MUST,
    "A root directory that a result names is in the CAS, with all directories below it.",
    source="Command.OutputDirectoryFormat, l.835",
    needs=[needs.version(2, 3)],
)
async def directories_are_stored_one_by_one(target: Target) -> None:
    directory = await _directory(target, _FORMAT.DIRECTORY_ONLY)
    if not directory.HasField("root_directory_digest"):
        expect(directory.HasField("tree_digest"), "neither form is given")
        raise NotApplicable("the server gives Trees alone")
    waiting, names = [directory.root_directory_digest], set()
    while waiting:
        found = reapi.Directory.FromString(await target.fetch(waiting.pop()))
        names |= {file.name for file in found.files}
        waiting += [node.digest for node in found.directories]
    expect(names == {"a", "b", "c"}, f"files of these names are found: {sorted(names)}")


@check(
    SHOULD,
    "A format of output directories that the server does not know is taken for TREE_ONLY.",
    source="Command.output_directory_format, l.852-860",
    needs=[needs.version(2, 3)],
)
async def an_unknown_format_is_trees(target: Target) -> None:
    command = script(MAKE_TREE, "out")
    command.ParseFromString(command.SerializeToString() + numbered(9, 99))
    result = (await execute(target, await put_action(target, command))).result
    await tree_of(target, result, "out")


@check(
    MUST,
    "Absolute targets of output symlinks are as announced: given, or FAILED_PRECONDITION.",
    source="SymlinkAbsolutePathStrategy.Value, l.2244",
    needs=[*_PATHS, needs.cache],
)
async def absolute_output_symlinks_are_as_announced(target: Target) -> None:
    strategy = target.cache.symlink_absolute_path_strategy
    if strategy == _STRATEGY.UNKNOWN:
        raise NotApplicable("no strategy is announced")
    action = await put_action(target, script("ln -s /etc/hostname link", "link"))
    try:
        response = (await execute(target, action)).response
        code, result = CODES[response.status.code], response.result
    except Refused as error:
        code, result = error.code, reapi.ActionResult()
    if strategy == _STRATEGY.DISALLOWED:
        expect(code == StatusCode.FAILED_PRECONDITION, f"{code.name} was answered")
        return
    expect(code == StatusCode.OK, f"{code.name} was answered")
    links = {each.path: each.target for each in result.output_symlinks}
    expect(links == {"link": "/etc/hostname"}, f"output_symlinks: {links}")


@check(
    MUST,
    "Absolute targets of input symlinks are as announced: there, or INVALID_ARGUMENT.",
    source="SymlinkAbsolutePathStrategy.Value, l.2244",
    needs=[needs.cache],
)
async def absolute_input_symlinks_are_as_announced(target: Target) -> None:
    strategy = target.cache.symlink_absolute_path_strategy
    if strategy == _STRATEGY.UNKNOWN:
        raise NotApplicable("no strategy is announced")
    inputs = Inputs({}, {"link": "/bin/sh"})
    action = await put_action(target, script('test "$(readlink link)" = /bin/sh'), inputs)
    try:
        response = (await execute(target, action)).response
        code, exit_code = CODES[response.status.code], response.result.exit_code
    except Refused as error:
        code, exit_code = error.code, 0
    if strategy == _STRATEGY.DISALLOWED:
        expect(code == StatusCode.INVALID_ARGUMENT, f"{code.name} was answered")
    else:
        expect(code == StatusCode.OK, f"{code.name} was answered")
        expect(exit_code == 0, "the link was not there")


@check(
    MUST,
    "inline_output_files is a hint: what is inlined has the file's very bytes.",
    source="ExecuteRequest.inline_output_files, l.1573-1577",
)
async def inlined_files_are_right(target: Target) -> None:
    request = request_for(target, await put_action(target, script("printf data > out", "out")))
    request.inline_output_files.append("out")
    result = Executed(await target.collect(methods.EXECUTE, request)).result
    (file,) = result.output_files
    expect(file.contents in {b"", b"data"}, f"contents: {file.contents!r}")
    expect(await target.fetch(file.digest) == b"data", "the blob has other bytes")
