from __future__ import annotations

import pytest
from google.rpc import code_pb2

from protos import remote_execution_pb2 as reapi
from tests.protocol.actions import (
    Entry,
    Link,
    Script,
    command,
    outputs_of,
    put_action,
    put_script,
    stdout_of,
)
from tests.protocol.peer import CALL_SECONDS, Peer

Format = reapi.Command
MAKE_TREE = "mkdir -p d/a/same d/b/same d/empty; for p in a b; do echo x > d/$p/same/f; done"


def legacy(script: str, *, files: list[str], directories: list[str]) -> reapi.Command:
    """Return a Command as clients before version 2.1 write it."""
    of = command(script)
    of.output_files[:] = files
    of.output_directories[:] = directories
    return of


def tree_of(peer: Peer, result: reapi.ActionResult) -> reapi.Tree:
    return reapi.Tree.FromString(peer.read(result.output_directories[0].tree_digest))


def encoded(directory: reapi.Directory) -> bytes:
    return directory.SerializeToString(deterministic=True)


def test_files_come_with_their_path_their_bytes_and_their_executable_bit(each: Peer) -> None:
    script = "mkdir -p a; printf one > a/f; printf two > g; chmod +x g"
    result = each.execute(put_script(each, script, "a/f", "g")).result
    assert outputs_of(each, result) == {"a/f": b"one", "g": b"two"}
    assert {output.path: output.is_executable for output in result.output_files} == {
        "a/f": False,
        "g": True,
    }


def test_a_path_is_a_file_or_a_directory_as_it_turns_out(each: Peer) -> None:
    # REAPI rule: output_paths do not say what they will be.
    result = each.execute(put_script(each, "mkdir d; echo 1 > d/f; echo 2 > f", "d", "f")).result
    assert [output.path for output in result.output_directories] == ["d"]
    assert [output.path for output in result.output_files] == ["f"]


def test_output_paths_rule_out_the_older_fields(peer: Peer) -> None:
    # REAPI rule: where output_paths is set, output_files and output_directories are ignored.
    of = legacy("echo 1 > a; echo 2 > b; mkdir -p d", files=["a"], directories=["d"])
    of.output_paths[:] = ["b"]
    result = peer.execute(put_action(peer, of)).result
    assert outputs_of(peer, result) == {"b": b"2\n"}
    assert not result.output_directories


def test_the_older_fields_work_alone(each: Peer) -> None:
    # Bazel of version 2.0 sends output_files and output_directories.
    of = legacy("echo 1 > x/a; mkdir y; echo 2 > y/f", files=["x/a"], directories=["y"])
    result = each.execute(put_action(each, of)).result
    assert outputs_of(each, result) == {"x/a": b"1\n"}
    assert [output.path for output in result.output_directories] == ["y"]


def test_one_path_in_both_older_fields_is_told_once(peer: Peer) -> None:
    # Buck2 rule: its compatibility mode names each path in both; no path is to come twice.
    of = legacy("echo 1 > a; mkdir -p d", files=["a", "d"], directories=["a", "d"])
    result = peer.execute(put_action(peer, of)).result
    paths = [output.path for output in result.output_files]
    paths += [output.path for output in result.output_directories]
    assert sorted(paths) == sorted(set(paths))


def test_parents_of_outputs_are_made(each: Peer) -> None:
    # REAPI rule: the parents of output paths exist before the action begins.
    result = each.execute(put_script(each, "echo 1 > a/b/c/f; mkdir a/b/d", "a/b/c/f", "a/b/d"))
    assert outputs_of(each, result.result) == {"a/b/c/f": b"1\n"}


def test_the_older_output_directories_have_their_parents_made_too(peer: Peer) -> None:
    # REAPI rule: what leads up to an output directory is made, and the directory itself is not.
    of = legacy("test ! -e a/b/c && mkdir a/b/c && echo 1 > a/b/c/f", files=[], directories=[])
    of.output_directories[:] = ["a/b/c"]
    result = peer.execute(put_action(peer, of)).result
    assert [output.path for output in result.output_directories] == ["a/b/c"]


def test_what_was_not_named_is_dropped(peer: Peer) -> None:
    # REAPI rule: outputs that are not listed are discarded.
    result = peer.execute(put_script(peer, "echo 1 > a; echo 2 > b", "a")).result
    assert outputs_of(peer, result) == {"a": b"1\n"}


def test_an_output_that_is_not_made_is_left_out_and_no_error(each: Peer) -> None:
    # REAPI rule: a missing output is omitted; the status stays OK.
    response = each.execute(put_script(each, "echo 1 > a", "a", "b/c")).response
    assert response.status.code == code_pb2.OK
    assert outputs_of(each, response.result) == {"a": b"1\n"}


def test_output_paths_are_relative_to_the_working_directory(each: Peer) -> None:
    # REAPI rule: outputs are named and found relative to the Command's working_directory.
    of = command("pwd | tail -c 7; echo 1 > f; cat ../in", outputs=["f", "../up"],
                 working_directory="w/here")  # fmt: skip
    of.output_paths[:] = ["f"]
    action = put_action(each, of, inputs={"w/here": None, "w/in": b"input"})
    result = each.execute(action).result
    assert outputs_of(each, result) == {"f": b"1\n"}
    assert stdout_of(each, result) == b"w/here\ninput"


def test_a_symlink_is_told_as_one_and_not_followed(each: Peer) -> None:
    # REAPI rule: with output_paths, links are in output_symlinks, and their target is untouched.
    script = "echo 1 > f; ln -s f to_file; mkdir d; ln -s d to_dir; ln -s nowhere dangling"
    paths = ["dangling", "f", "to_dir", "to_file"]
    result = each.execute(put_script(each, script, *paths)).result
    assert {link.path: link.target for link in result.output_symlinks} == {
        "dangling": "nowhere",
        "to_dir": "d",
        "to_file": "f",
    }
    assert outputs_of(each, result) == {"f": b"1\n"}
    assert not result.output_directories


def test_links_are_in_the_older_fields_for_older_clients(peer: Peer) -> None:
    # REAPI rule: without output_paths, links are in output_file_symlinks and
    # output_directory_symlinks, which clients of version 2.0 read.
    script = "echo 1 > f; ln -s f to_file; mkdir d; ln -s d to_dir"
    of = legacy(script, files=["to_file"], directories=[])
    of.output_directories[:] = []
    result = peer.execute(put_action(peer, of)).result
    assert [(link.path, link.target) for link in result.output_file_symlinks] == [("to_file", "f")]


def test_an_output_link_to_an_absolute_path_is_as_the_server_announces(peer: Peer) -> None:
    # REAPI rule: where absolute targets are DISALLOWED, such an output is FAILED_PRECONDITION.
    strategy = peer.capabilities.GetCapabilities(
        reapi.GetCapabilitiesRequest(), timeout=CALL_SECONDS
    ).cache_capabilities.symlink_absolute_path_strategy
    response = peer.execute(put_script(peer, "ln -s /etc/hostname link", "link")).response
    if strategy == reapi.SymlinkAbsolutePathStrategy.DISALLOWED:
        assert response.status.code == code_pb2.FAILED_PRECONDITION
        assert "link" in response.status.message
    else:
        assert [link.target for link in response.result.output_symlinks] == ["/etc/hostname"]


def test_a_tree_has_its_root_first_and_each_directory_once(each: Peer) -> None:
    # REAPI rules: children are deduplicated and in topological order where the result says so;
    # equal directories have equal digests; empty ones are there too.
    result = each.execute(put_script(each, MAKE_TREE, "d")).result
    tree = tree_of(each, result)
    children = [encoded(child) for child in tree.children]
    assert len(children) == len(set(children))
    seen = {key for node in tree.root.directories for key in [node.digest.hash]}
    by_hash = {each.digest(data).hash: data for data in children}
    if result.output_directories[0].is_topologically_sorted:
        for data in children:
            assert each.digest(data).hash in seen
            seen |= {node.digest.hash for node in reapi.Directory.FromString(data).directories}
    assert [node.name for node in tree.root.directories] == ["a", "b", "empty"]
    assert each.digest(b"").hash in by_hash


def test_a_tree_holds_links_modes_and_canonical_directories(peer: Peer) -> None:
    # REAPI rule: nodes are sorted by the UTF-8 bytes of their names.
    script = "mkdir d; cd d; touch b a é B z; chmod +x a; ln -s ../up link; ln -s /abs absolute"
    tree = tree_of(peer, peer.execute(put_script(peer, script, "d")).result)
    names = [node.name for node in tree.root.files]
    assert names == ["B", "a", "b", "z", "é"]
    assert [node.is_executable for node in tree.root.files] == [False, True, False, False, False]
    assert {link.name: link.target for link in tree.root.symlinks} == {
        "absolute": "/abs",
        "link": "../up",
    }


def test_equal_directories_give_equal_trees(peer: Peer) -> None:
    # REAPI rule: a directory's digest follows from its contents alone.
    first = peer.execute(put_script(peer, MAKE_TREE, "d")).result
    second = peer.execute(put_script(peer, "mkdir -p d/empty d/b/same; echo x > d/b/same/f; "
                                           "cp -r d/b d/a", "d")).result  # fmt: skip
    assert first.output_directories[0].tree_digest == second.output_directories[0].tree_digest


@pytest.mark.parametrize(
    ("format", "tree", "root"),
    [
        (Format.TREE_ONLY, True, None),
        (Format.DIRECTORY_ONLY, None, True),
        (Format.TREE_AND_DIRECTORY, True, True),
        (77, True, None),
    ],
)
def test_directories_are_given_in_the_format_that_was_asked_for(
    each: Peer,
    format: reapi.Command.OutputDirectoryFormat.ValueType,
    tree: bool | None,  # noqa: FBT001
    root: bool | None,  # noqa: FBT001
) -> None:
    # REAPI rule: an unknown format is TREE_ONLY; more than was asked for may be given.
    of = command(MAKE_TREE, outputs=["d"])
    of.output_directory_format = format
    (output,) = each.execute(put_action(each, of)).result.output_directories
    assert output.HasField("tree_digest") or not tree
    assert output.HasField("root_directory_digest") or not root
    if output.HasField("root_directory_digest"):
        assert_all_there(each, output.root_directory_digest)
    if output.HasField("root_directory_digest") and output.HasField("tree_digest"):
        # REAPI rule: the Tree's root is what root_directory_digest names.
        message = reapi.Tree.FromString(each.read(output.tree_digest))
        assert each.digest(encoded(message.root)) == output.root_directory_digest


def assert_all_there(peer: Peer, root: reapi.Digest) -> None:
    """Read every directory below `root`, and find every file."""
    directory = reapi.Directory.FromString(peer.read(root))
    assert not peer.find_missing(*(node.digest for node in directory.files))
    for node in directory.directories:
        assert_all_there(peer, node.digest)


def test_paths_come_back_as_they_were_asked_for(peer: Peer) -> None:
    # Buck2 rule: outputs are matched by the requested strings.
    paths = ["buck-out/v2/gen/root/0123456789abcdef/__x__/out.o", "with space/é.txt"]
    script = "; ".join(f"echo 1 > '{path}'" for path in paths)
    result = peer.execute(put_script(peer, script, *paths)).result
    assert {output.path for output in result.output_files} == set(paths)


def test_the_whole_working_directory_may_be_an_output(peer: Peer) -> None:
    # REAPI rule: an empty path is the working directory itself.
    of = command("echo 1 > f")
    of.output_directories[:] = [""]
    result = peer.execute(put_action(peer, of)).result
    assert [output.path for output in result.output_directories] == [""]
    assert [node.name for node in tree_of(peer, result).root.files] == ["f"]


def test_an_input_can_be_an_output(peer: Peer) -> None:
    # An action that leaves a declared output as it found it still has it.
    of = command("true", outputs=["f"])
    result = peer.execute(put_action(peer, of, inputs={"f": b"as it was"})).result
    assert outputs_of(peer, result) == {"f": b"as it was"}


def test_executables_and_links_of_the_input_root_work(peer: Peer) -> None:
    # Buck2 rule: links of inputs may point to nowhere or be absolute, if the server allows it.
    inputs: dict[str, Entry] = {
        "tool": Script("#!/bin/sh\nexec cat via/f\n"),
        "d/f": b"found",
        "via": Link("d"),
        "dangling": Link("nowhere/at/all"),
    }
    result = peer.execute(put_action(peer, command("./tool"), inputs=inputs)).result
    assert stdout_of(peer, result) == b"found"


def test_a_large_output_arrives_whole(peer: Peer) -> None:
    result = peer.execute(put_script(peer, "head -c 20000000 /dev/zero > big", "big")).result
    assert result.output_files[0].digest == peer.digest(bytes(20_000_000))


def test_an_output_that_is_neither_file_nor_directory_is_an_error_that_names_it(
    peer: Peer,
) -> None:
    response = peer.execute(put_script(peer, "mkfifo pipe", "pipe")).response
    told = response.status.message + response.message
    assert "pipe" in told or not response.result.output_files
