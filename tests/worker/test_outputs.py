from __future__ import annotations

import os
from pathlib import Path

import pytest
from google.rpc.code_pb2 import Code

from cas.digest import Digest, DigestFunction
from cas.tree import InvalidMessage
from determinism.canonical import Extent, Selection
from determinism.text_rules import TextRule
from protos import remote_execution_pb2 as reapi
from re_client.status import to_status
from tests.worker.site import Input, Inputs, Link, Program, Setting, Site, site
from worker.executor import OutputsOverBound, OutputsRefused

Format = reapi.Command.OutputDirectoryFormat


async def tree_of(worker: Site, directory: reapi.OutputDirectory) -> reapi.Tree:
    return reapi.Tree.FromString(await worker.blob(directory.tree_digest))


def legacy(files: list[str] = [], directories: list[str] = []) -> reapi.Command:  # noqa: B006
    return reapi.Command(output_files=files, output_directories=directories)


async def test_files_are_returned_with_their_executable_bit(any_worker: Site) -> None:
    result = await any_worker.shell(
        "echo a >a; echo b >b; chmod 755 b; : >empty", {}, ["a", "b", "empty"]
    )
    assert await any_worker.files(result) == {"a": b"a\n", "b": b"b\n", "empty": b""}
    assert [file.is_executable for file in result.output_files] == [False, True, False]


async def test_a_large_file_is_returned(any_worker: Site) -> None:
    result = await any_worker.shell("head -c 9000000 /dev/zero >big", {}, ["big"])
    assert await any_worker.files(result) == {"big": bytes(9_000_000)}


async def test_what_is_not_asked_for_is_dropped_and_what_is_missing_left_out(
    any_worker: Site,
) -> None:
    # REAPI rule: unlisted files are dropped; a missing output is omitted, and no error
    result = await any_worker.shell("touch a b", {}, ["a", "missing", "no/such/folder"])
    assert [file.path for file in result.output_files] == ["a"]
    assert not result.output_directories
    assert not result.output_symlinks


async def test_outputs_of_a_failed_action_are_returned(worker: Site) -> None:
    result = await worker.shell("echo log >log; exit 1", {}, ["log"])
    assert result.exit_code == 1
    assert await worker.files(result) == {"log": b"log\n"}


async def test_paths_are_relative_to_the_working_directory_and_echoed(worker: Site) -> None:
    # REAPI rule: output paths are relative to the working directory
    command = reapi.Command(working_directory="sub/dir")
    outputs = ["../up", "dir/", "./here", "../../top", "../dir/twice", "twice"]
    script = "echo up >../up; mkdir -p dir; echo h >here; echo top >../../top; echo t >twice"
    result = await worker.shell(script, {"sub/dir": None}, outputs, command=command)
    assert {file.path for file in result.output_files} == {
        "../up",
        "./here",
        "../../top",
        "../dir/twice",
    }
    assert [directory.path for directory in result.output_directories] == ["dir/"]


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "../../../etc"])
async def test_paths_that_leave_the_root_are_refused(worker: Site, path: str) -> None:
    with pytest.raises(InvalidMessage, match="output_paths") as refused:
        await worker.shell("true", {}, [path])
    assert path in str(refused.value)
    with pytest.raises(InvalidMessage, match="working_directory"):
        await worker.shell("true", command=reapi.Command(working_directory=path))


async def test_parents_of_all_outputs_are_made_before_the_run(any_worker: Site) -> None:
    # REAPI rule: the parents of outputs are created, those of output_directories too
    result = await any_worker.shell("echo x >a/b/c", {}, ["a/b/c"])
    assert await any_worker.files(result) == {"a/b/c": b"x\n"}
    result = await any_worker.shell(
        "echo x >a/b/c && test ! -e d/e/f && mkdir d/e/f", command=legacy(["a/b/c"], ["d/e/f"])
    )
    assert result.exit_code == 0
    assert [directory.path for directory in result.output_directories] == ["d/e/f"]


async def test_a_parent_that_is_a_file_or_leads_outside_is_refused(any_worker: Site) -> None:
    outside = any_worker.path.parent / "outside"
    outside.mkdir()
    parents: list[Input] = [b"file", Link(str(outside)), Link("../../..")]
    for parent in parents:
        with pytest.raises(InvalidMessage, match="'a/b'"):
            await any_worker.shell("true", {"a": parent}, ["a/b/c"])
    assert list(outside.iterdir()) == []


async def test_a_parent_that_is_a_link_inside_the_root_is_followed(any_worker: Site) -> None:
    inputs: Inputs = {"real/x": b"", "link": Link("real")}
    result = await any_worker.shell("echo x >link/sub/out", inputs, ["link/sub/out"])
    assert await any_worker.files(result) == {"link/sub/out": b"x\n"}


async def test_no_link_leads_a_collection_out_of_the_root(any_worker: Site) -> None:
    secret = any_worker.path.parent / "secret"
    secret.mkdir()
    (secret / "file").write_text("secret")
    script = f"rmdir d; ln -s {secret} d; ln -s {secret}/file f; mkdir t; ln -s {secret} t/l"
    result = await any_worker.shell(script, {}, ["d/file", "f", "t"])
    assert not result.output_files
    assert [(link.path, link.target) for link in result.output_symlinks] == [
        ("f", f"{secret}/file")
    ]
    tree = await tree_of(any_worker, result.output_directories[0])
    assert [link.target for link in tree.root.symlinks] == [str(secret)]


async def test_links_are_reported_as_links(any_worker: Site) -> None:
    # REAPI rule: the target of an output symlink is not dereferenced
    script = "echo x >real; mkdir dir; ln -s real l1; ln -s dir l2; ln -s nowhere l3; ln -s /etc l4"
    result = await any_worker.shell(script, {}, ["l1", "l2", "l3", "l4"])
    assert {link.path: link.target for link in result.output_symlinks} == {
        "l1": "real",
        "l2": "dir",
        "l3": "nowhere",
        "l4": "/etc",
    }
    assert not result.output_file_symlinks
    assert not result.output_directory_symlinks
    assert not result.output_files


async def test_links_are_reported_by_kind_to_clients_of_version_2_0(any_worker: Site) -> None:
    # REAPI rule: output_symlinks only where output_paths is used; 2.0 clients get the older lists
    script = (
        'echo x >real; mkdir dir; ln -s real f1; ln -s nowhere f2; ln -s "$PWD/real" f3;'
        ' ln -s dir d1; ln -s nowhere d2; ln -s "$PWD/dir" d3'
    )
    result = await any_worker.shell(script, command=legacy(["f1", "f2", "f3"], ["d1", "d2", "d3"]))
    assert not result.output_symlinks
    assert [link.path for link in result.output_file_symlinks] == ["f1", "f2", "f3"]
    assert [link.path for link in result.output_directory_symlinks] == ["d1", "d2", "d3"]


async def test_legacy_lists_are_ignored_where_output_paths_is_set(worker: Site) -> None:
    # REAPI rule: if output_paths is used, output_files and output_directories are ignored
    result = await worker.shell("touch a b; mkdir c", {}, ["a"], command=legacy(["b"], ["c"]))
    assert [file.path for file in result.output_files] == ["a"]
    assert not result.output_directories


async def test_a_path_in_both_legacy_lists_is_returned_once_as_what_it_is(worker: Site) -> None:
    result = await worker.shell("mkdir d; touch f", command=legacy(["d", "f"], ["d", "f"]))
    assert [file.path for file in result.output_files] == ["f"]
    assert [directory.path for directory in result.output_directories] == ["d"]


async def test_a_legacy_output_of_the_wrong_kind_is_refused(worker: Site) -> None:
    # REAPI rule: a directory where a file was asked for gives FAILED_PRECONDITION
    for script, command in (
        ("echo said; mkdir x", legacy(["x"])),
        ("echo said; touch x", legacy([], ["x"])),
    ):
        with pytest.raises(OutputsRefused, match="'x'") as refused:
            await worker.shell(script, command=command)
        assert to_status(refused.value).code == Code.FAILED_PRECONDITION
        assert await worker.stdout(refused.value.result) == "said\n"


async def test_special_files_are_refused_by_name(worker: Site) -> None:
    for script in (
        "mkfifo d/pipe",
        "python3 -c 'import socket as s; s.socket(1).bind(\"d/sock\")'",
    ):
        for outputs in (["d"], ["d/pipe", "d/sock"]):
            with pytest.raises(OutputsRefused, match=r"d/(pipe|sock).*(pipe|socket)"):
                await worker.shell(f"mkdir -p d; {script}", {}, outputs)


async def test_names_that_are_not_utf8_are_refused(worker: Site) -> None:
    script = "mkdir d; python3 -c \"open(b'd/\\xff', 'w')\""
    with pytest.raises(OutputsRefused, match="not UTF-8"):
        await worker.shell(script, {}, ["d"])
    script = "mkdir d; python3 -c \"import os; os.symlink(b'\\xff', b'd/link')\""
    with pytest.raises(OutputsRefused, match=r"d/link.*not UTF-8"):
        await worker.shell(script, {}, ["d"])


TREE = """
mkdir -p d/b/x d/a/x d/empty d/z
for p in d/b/x d/a/x; do mkdir $p/deep; echo same >$p/deep/f; echo s >$p/g; done
echo run >d/run; chmod +x d/run; ln -s nowhere d/link; ln -s /abs d/abs
"""


async def test_a_directory_is_a_sorted_tree_without_duplicates(any_worker: Site) -> None:
    # REAPI rule: Tree: root first, topological, deduplicated, as is_topologically_sorted promises
    result = await any_worker.shell(TREE, {}, ["d"])
    (made,) = result.output_directories
    assert made.is_topologically_sorted
    assert not made.HasField("root_directory_digest")
    data = await any_worker.blob(made.tree_digest)
    tree = reapi.Tree.FromString(data)
    assert data[0] == 0x0A
    assert [node.name for node in tree.root.directories] == ["a", "b", "empty", "z"]
    assert [link.name for link in tree.root.symlinks] == ["abs", "link"]
    assert [(file.name, file.is_executable) for file in tree.root.files] == [("run", True)]
    named = [Digest.of(child.SerializeToString(deterministic=True)) for child in tree.children]
    assert len(set(named)) == len(named) == 4  # a and b are one, empty and z are one
    order = {digest.hash: index for index, digest in enumerate(named)}
    for index, child in enumerate(tree.children):
        for node in child.directories:
            assert order[node.digest.hash] > index
    # Every child is reached from the root.
    reached = {
        node.digest.hash for folder in (tree.root, *tree.children) for node in folder.directories
    }
    assert reached == set(order)


async def test_equal_directories_have_equal_trees(worker: Site) -> None:
    one = await worker.shell("mkdir d; cd d; mkdir a b; echo 1 >a/x; echo 2 >b/y", {}, ["d"])
    two = await worker.shell("mkdir -p e/b e/a; cd e; echo 2 >b/y; echo 1 >a/x", {}, ["e"])
    assert one.output_directories[0].tree_digest == two.output_directories[0].tree_digest


@pytest.mark.parametrize(
    "wanted", [Format.TREE_ONLY, Format.DIRECTORY_ONLY, Format.TREE_AND_DIRECTORY]
)
async def test_directories_come_in_the_format_asked_for(
    worker: Site, wanted: Format.ValueType
) -> None:
    # REAPI rule: root_directory_digest matches the Tree's root, and its Directories are in the CAS
    command = reapi.Command(output_directory_format=wanted)
    result = await worker.shell(TREE, {}, ["d"], command=command)
    (made,) = result.output_directories
    assert made.HasField("tree_digest") == (wanted != Format.DIRECTORY_ONLY)
    assert made.is_topologically_sorted == (wanted != Format.DIRECTORY_ONLY)
    assert made.HasField("root_directory_digest") == (wanted != Format.TREE_ONLY)
    if made.HasField("root_directory_digest"):
        pending = [made.root_directory_digest]
        seen = 0
        while pending:
            directory = reapi.Directory.FromString(await worker.blob(pending.pop()))
            pending += [node.digest for node in directory.directories]
            seen += 1
        assert seen == 9
    if wanted == Format.TREE_AND_DIRECTORY:
        root = (await tree_of(worker, made)).root.SerializeToString(deterministic=True)
        assert root == await worker.blob(made.root_directory_digest)


async def test_an_unknown_directory_format_gives_trees(worker: Site) -> None:
    # REAPI rule: an unknown output_directory_format is TREE_ONLY
    command = reapi.Command.FromString(b"\x48\x63")  # output_directory_format: 99
    result = await worker.shell("mkdir d", {}, ["d"], command=command)
    assert result.output_directories[0].HasField("tree_digest")


async def test_the_whole_root_can_be_an_output(worker: Site) -> None:
    result = await worker.shell("echo x >x", {"in": b"i"}, command=legacy([], [""]))
    (made,) = result.output_directories
    assert made.path == ""
    tree = await tree_of(worker, made)
    assert [file.name for file in tree.root.files] == ["in", "x"]


async def test_outputs_that_nobody_may_read_are_read(any_worker: Site) -> None:
    script = (
        "mkdir -p d/sub; echo x >d/sub/f; echo y >f; chmod 0 f d/sub/f d/sub d; mkdir g; chmod 0 g"
    )
    result = await any_worker.shell(script, {}, ["d", "f"])
    assert await any_worker.files(result) == {"f": b"y\n"}
    tree = await tree_of(any_worker, result.output_directories[0])
    assert tree.children[0].files[0].name == "f"
    assert any_worker.left() == []


async def test_too_many_bytes_are_refused_with_the_setting(tmp_path: Path) -> None:
    async with site(tmp_path, Setting({"max_output_bytes": 1000})) as worker:
        for script, outputs in (
            ("truncate -s 1T huge", ["huge"]),
            ("mkdir d; head -c 600 /dev/zero >d/a; cp d/a d/b", ["d"]),
        ):
            with pytest.raises(OutputsOverBound, match=r"1000 bytes \(worker\.max_output_bytes\)"):
                await worker.shell(script, {}, outputs)


async def test_too_many_entries_and_too_deep_folders_are_refused(tmp_path: Path) -> None:
    async with site(tmp_path, Setting(limits={"tree_depth": 10, "tree_entries": 50})) as worker:
        with pytest.raises(OutputsOverBound, match="entries"):
            await worker.shell("mkdir d; cd d; touch $(seq 60)", {}, ["d"])
        with pytest.raises(OutputsOverBound, match="deep"):
            await worker.shell("mkdir -p d/1/2/3/4/5/6/7/8/9/10/11", {}, ["d"])


async def test_a_folder_too_deep_for_the_system_is_refused_and_removed(any_worker: Site) -> None:
    script = (
        "import os\nos.mkdir('d'); os.chdir('d')\n"
        "for _ in range(3000): os.mkdir('x' * 20); os.chdir('x' * 20)\n"
        "open('f', 'w').close()\n"
    )
    action = await any_worker.action(["python3", "-c", script], {}, ["d"])
    with pytest.raises(OutputsOverBound, match="deep"):
        await any_worker.execute(action)
    assert any_worker.left() == []


@pytest.mark.parametrize("function", DigestFunction)
async def test_results_use_the_digest_function_of_the_action(
    tmp_path: Path, function: DigestFunction
) -> None:
    # REAPI rule: one digest function per action, and its result uses the same
    async with site(tmp_path) as worker:
        worker.function = function
        result = await worker.shell("echo x >x; mkdir d; cat in", {"in": b"in"}, ["x", "d"])
        assert await worker.files(result) == {"x": b"x\n"}
        assert await worker.stdout(result) == "in"
        await tree_of(worker, result.output_directories[0])


STAMPS = Selection(
    how=Extent.LEARNED,
    text_rules=(
        TextRule(name="stamps", pattern=rb"stamp-\d+", fill=b"0", outputs="*", mnemonic=""),
    ),
)


async def test_outputs_are_canonical_before_they_are_named(any_worker: Site) -> None:
    action = await any_worker.action(
        ["/bin/sh", "-c", "echo stamp-1 >f; mkdir d; echo stamp-22 >d/g; chmod 0444 d/g; cat f"],
        {},
        ["f", "d"],
    )
    executed = await any_worker.run(action, selection=STAMPS)
    assert await any_worker.files(executed.result) == {"f": b"0000000\n"}
    tree = await tree_of(any_worker, executed.result.output_directories[0])
    assert await any_worker.blob(tree.root.files[0].digest) == b"00000000\n"
    assert await any_worker.stdout(executed.result) == "stamp-1\n"
    assert {each.path: each.bytes for each in executed.report.rewritten} == {"f": 7, "d/g": 8}
    assert executed.report.rewritten[0].before.size_bytes in {8, 9}
    untouched = await any_worker.run(action)
    assert await any_worker.files(untouched.result) == {"f": b"stamp-1\n"}
    assert not untouched.report.rewritten


async def test_inputs_that_are_passed_through_are_left_alone(any_worker: Site) -> None:
    script = "ln in linked || cp -p in linked; mv in2 moved; cp in copied; echo stamp-4 >made"
    inputs: Inputs = {"in": b"stamp-1", "in2": b"stamp-2"}
    outputs = ["linked", "moved", "copied", "made"]
    action = await any_worker.action(["/bin/sh", "-c", script], inputs, outputs)
    executed = await any_worker.run(action, selection=STAMPS)
    assert await any_worker.files(executed.result) == {
        "copied": b"stamp-1",
        "linked": b"stamp-1",
        "made": b"0000000\n",
        "moved": b"stamp-2",
    }
    assert [each.path for each in executed.report.rewritten] == ["made"]
    again = await any_worker.shell("cat in in2", inputs)
    assert await any_worker.stdout(again) == "stamp-1stamp-2"


async def test_a_compiler_gives_what_runs(any_worker: Site) -> None:
    inputs: Inputs = {
        "src/main.c": b'#include "lib.h"\nint main(void) { return answer(); }\n',
        "src/lib.h": b"int answer(void);\n",
        "src/lib.c": b"int answer(void) { return 42; }\n",
        "cc": Program(b'#!/bin/sh\nexec gcc "$@"\n'),
    }
    built = await any_worker.execute(
        await any_worker.action(
            ["./cc", "-g", "-o", "out/main", "src/main.c", "src/lib.c"], inputs, ["out/main"]
        )
    )
    data = (await any_worker.files(built))["out/main"]
    ran = await any_worker.execute(await any_worker.action(["./main"], {"main": Program(data)}))
    assert ran.exit_code == 42


def test_the_suite_runs_with_a_usable_locale() -> None:
    assert os.fsencode("ä") == "ä".encode()
