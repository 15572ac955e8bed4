from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

from cas.digest import Digest, DigestFunction
from cas.folder import Blobs, File, Folder, Link, Unsendable, encode
from cas.memory import MemoryStore
from cas.store import BlobNotFound
from cas.tree import InvalidMessage, TreeLimits, parse_directory
from protos import remote_execution_pb2 as reapi
from re_client.command_line import CommandLine, InvalidPath, inside, plan_outputs, to_action
from re_client.download import Plan, carry_out, load_tree
from re_client.folder import scan
from re_client.upload import SMALL_BYTES, FileChanged, upload

SHA256 = DigestFunction.SHA256


def filled(folder: Path) -> Path:
    """Make a folder with everything that a tree can hold."""
    (folder / "empty").mkdir(parents=True)
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "b.txt").write_text("b")
    (folder / "a.txt").write_text("a")
    (folder / "ä").write_text("a")
    (folder / "sub" / "large").write_bytes(os.urandom(SMALL_BYTES + 1))
    (folder / "sub" / "deep" / "same").write_bytes((folder / "sub" / "large").read_bytes())
    (folder / "sub" / "run").write_text("#!/bin/sh\n")
    (folder / "sub" / "run").chmod(0o755)
    (folder / "sub" / "link").symlink_to("../b.txt")
    (folder / "sub" / "dangling").symlink_to("/nowhere/")
    (folder / "nothing").touch()
    return folder


def listed(folder: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)  # noqa: PTH115  Path drops the last slash
        elif path.is_dir():
            found[name] = None
        else:
            found[name] = (path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return found


async def test_a_folder_comes_back_as_it_was(tmp_path: Path) -> None:
    source = filled(tmp_path / "source")
    blobs: Blobs = {}
    folder = scan(source, SHA256, blobs)
    assert isinstance(folder, Folder)
    root = encode(folder, SHA256, blobs)
    store = MemoryStore()
    totals: list[int] = []
    sent: list[int] = []
    done = await upload(store, blobs, on_total=totals.append, on_bytes=sent.append)
    assert totals == [sum(sent)] == [done.bytes]
    again = await upload(store, blobs)
    assert (again.blobs, again.bytes) == (0, 0)

    plan = Plan()
    plan.add_tree(await load_tree(store, root, TreeLimits()), tmp_path / "target")
    received: list[int] = []
    await carry_out(store, plan, on_bytes=received.append)
    assert sum(received) == plan.bytes
    assert listed(tmp_path / "target") == listed(source)


def test_every_directory_is_canonical_and_equal_folders_have_equal_digests(tmp_path: Path) -> None:
    # REAPI rule: entries are sorted by their UTF-8 bytes, and each message is in field order.
    source = filled(tmp_path / "source")
    digests = set()
    for _ in range(2):
        blobs: Blobs = {}
        folder = scan(source, SHA256, blobs)
        assert isinstance(folder, Folder)
        digests.add(encode(folder, SHA256, blobs))
        for digest, data in blobs.items():
            if isinstance(data, bytes):
                parse_directory(data, digest)
        source = source.rename(tmp_path / "moved")
    assert len(digests) == 1


async def test_the_tree_of_an_output_directory_is_made_as_well(tmp_path: Path) -> None:
    store = MemoryStore()
    data = Digest.of(b"data")
    await store.write_all(b"data", data)
    child = reapi.Directory()
    child.files.add(name="file").digest.CopyFrom(reapi.Digest(hash=data.hash, size_bytes=4))
    named = Digest.of(child.SerializeToString())
    tree = reapi.Tree(children=[child])
    node = tree.root.directories.add(name="below")
    node.digest.CopyFrom(reapi.Digest(hash=named.hash, size_bytes=named.size))
    digest = Digest.of(tree.SerializeToString())
    await store.write_all(tree.SerializeToString(), digest)

    plan = Plan()
    plan.add_tree(await load_tree(store, digest, TreeLimits()), tmp_path / "out")
    await carry_out(store, plan)
    assert (tmp_path / "out" / "below" / "file").read_bytes() == b"data"

    del tree.children[:]
    lacking = Digest.of(tree.SerializeToString())
    await store.write_all(tree.SerializeToString(), lacking)
    with pytest.raises(InvalidMessage, match="lacks its directory"):
        await load_tree(store, lacking, TreeLimits())


async def test_what_is_no_tree_is_refused() -> None:
    store = MemoryStore()
    await store.write_all(b"no tree", Digest.of(b"no tree"))
    with pytest.raises(InvalidMessage):
        await load_tree(store, Digest.of(b"no tree"), TreeLimits())


def test_what_the_protocol_has_no_form_for_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Unsendable, match="pipe is neither a file nor a folder"):
        scan(tmp_path, SHA256, {})
    (tmp_path / "pipe").unlink()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).touch()
    with pytest.raises(Unsendable, match="not UTF-8"):
        scan(tmp_path, SHA256, {})


def test_inputs_are_merged_unless_they_contradict_one_another() -> None:
    one, other = (File(Digest.of(data), executable=False) for data in (b"1", b"2"))
    root = Folder()
    root.put(PurePosixPath("a/b"), one)
    root.put(PurePosixPath("a/b"), one)
    root.put(PurePosixPath("a"), Folder({"c": Link("b")}))
    root.put(PurePosixPath(), Folder({"d": other}))
    assert root == Folder({"a": Folder({"b": one, "c": Link("b")}), "d": other})
    for at, entry in (("a/b", other), ("a", one), ("d/x", one), ("", one)):
        with pytest.raises(Unsendable):
            root.put(PurePosixPath(at), entry)


@pytest.mark.parametrize("size", [10, SMALL_BYTES + 10])
async def test_a_file_that_changes_while_it_is_uploaded_is_named(tmp_path: Path, size: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"a" * size)
    blobs: Blobs = {}
    scan(file, SHA256, blobs)
    file.write_bytes(b"b" * size)
    with pytest.raises(FileChanged, match=str(file)):
        await upload(MemoryStore(), blobs)


@pytest.mark.parametrize("size", [10, SMALL_BYTES + 10])
async def test_a_download_that_fails_leaves_what_was_there(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_text("before")
    plan = Plan()
    plan.add_file(Digest("0" * 64, size), tmp_path / "file", executable=False)
    with pytest.raises(BlobNotFound):
        await carry_out(MemoryStore(), plan)
    assert listed(tmp_path) == {"file": (b"before", False)}


async def test_outputs_are_planned_where_they_belong_and_nowhere_else(tmp_path: Path) -> None:
    store = MemoryStore()
    await store.write_all(b"x", Digest.of(b"x"))
    result = reapi.ActionResult()
    file = result.output_files.add(path="out/bin", is_executable=True)
    file.digest.CopyFrom(reapi.Digest(hash=Digest.of(b"x").hash, size_bytes=1))
    result.output_symlinks.add(path="out/link", target="bin")
    await carry_out(store, await plan_outputs(store, result, SHA256, tmp_path))
    assert listed(tmp_path) == {"out": None, "out/bin": (b"x", True), "out/link": "bin"}
    result.output_files[0].path = "../bin"
    with pytest.raises(InvalidPath):
        await plan_outputs(store, result, SHA256, tmp_path)


@pytest.mark.parametrize("path", ["/etc", "..", "a/../../b", "a\0b"])
def test_a_path_that_leads_out_is_refused(path: str) -> None:
    with pytest.raises(InvalidPath, match="leads out"):
        inside(path)


def test_a_command_line_becomes_an_action_whose_parts_are_sorted() -> None:
    # REAPI rule: variables, outputs and platform properties are sorted by name.
    line = CommandLine(
        arguments=["b", "a"],
        outputs=["z", "a", "a"],
        environment=[("Z", "1"), ("A", "2"), ("Z", "3")],
        platform=[("pool", "b"), ("pool", "a"), ("OS", "x")],
        timeout_seconds=1.5,
        do_not_cache=True,
    )
    blobs: Blobs = {}
    root = Digest.of(b"")
    data = blobs[to_action(line, root, blobs)]
    assert isinstance(data, bytes)
    action = reapi.Action.FromString(data)
    assert action.timeout.ToMilliseconds() == 1500
    assert action.do_not_cache
    named = Digest(action.command_digest.hash, action.command_digest.size_bytes)
    data = blobs[named]
    assert isinstance(data, bytes)
    command = reapi.Command.FromString(data)
    assert list(command.arguments) == ["b", "a"]
    assert list(command.output_paths) == ["a", "z"]
    variables = [(each.name, each.value) for each in command.environment_variables]
    assert variables == [("A", "2"), ("Z", "3")]
    for platform in (action.platform, command.platform):
        pairs = [(each.name, each.value) for each in platform.properties]
        assert pairs == [("OS", "x"), ("pool", "a"), ("pool", "b")]
