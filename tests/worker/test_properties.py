"""Node properties: told of outputs that they are asked of, given to inputs that have them."""

from __future__ import annotations

import pytest

from cas.tree import InvalidMessage
from cas.wire import digest_to
from determinism.canonical import Extent, Selection
from determinism.outcome import outcome_of
from protos import remote_execution_pb2 as reapi
from tests.worker.site import Site

BOTH = reapi.Command(output_node_properties=["mtime", "unix_mode"])
BOTH.output_directory_format = reapi.Command.OutputDirectoryFormat.TREE_AND_DIRECTORY
MAKE = """
mkdir -p d/e; echo 1 > f; echo 2 > d/e/g; ln -s f l; ln -s g d/e/m; chmod 640 f; chmod 700 d/e
touch -h -d @1000000001 f l d/e/m; touch -d @1000000002 d/e/g; touch -d @1000000003 d/e d
"""


def seconds(properties: reapi.NodeProperties) -> int:
    return properties.mtime.ToSeconds()


async def tree_of(site: Site, result: reapi.ActionResult) -> reapi.Tree:
    return reapi.Tree.FromString(await site.blob(result.output_directories[0].tree_digest))


async def test_outputs_are_told_with_their_times_and_modes(any_worker: Site) -> None:
    # REAPI rule: node properties that were asked for are in OutputFile, OutputSymlink and Tree.
    result = await any_worker.shell(MAKE, outputs=["f", "l", "d"], command=BOTH)
    (file,), (link,) = result.output_files, result.output_symlinks
    assert seconds(file.node_properties) == 1_000_000_001
    assert file.node_properties.unix_mode.value == 0o640
    assert seconds(link.node_properties) == 1_000_000_001
    tree = await tree_of(any_worker, result)
    (child,) = tree.children
    assert seconds(tree.root.node_properties) == seconds(child.node_properties) == 1_000_000_003
    assert child.node_properties.unix_mode.value == 0o700
    assert seconds(child.files[0].node_properties) == 1_000_000_002
    assert seconds(child.symlinks[0].node_properties) == 1_000_000_001
    (directory,) = result.output_directories
    root = await any_worker.blob(directory.root_directory_digest)
    assert reapi.Directory.FromString(root) == tree.root


async def test_nothing_is_told_that_was_not_asked_for(worker: Site) -> None:
    plain = await worker.shell(MAKE, outputs=["f", "l", "d"])
    assert not plain.output_files[0].HasField("node_properties")
    assert not (await tree_of(worker, plain)).root.HasField("node_properties")
    modes = reapi.Command(output_node_properties=["unix_mode"])
    told = (await worker.shell(MAKE, outputs=["f", "l", "d"], command=modes)).output_files[0]
    assert told.node_properties.unix_mode.value == 0o640
    assert not told.node_properties.HasField("mtime")


async def test_a_time_is_no_difference_and_a_mode_is(worker: Site) -> None:
    def compared(result: reapi.ActionResult) -> object:
        return outcome_of(result, worker.function)

    outputs = ["f", "d"]
    first = await worker.shell(MAKE, outputs=outputs, command=BOTH)
    later = await worker.shell(f"{MAKE}touch f d d/e d/e/g", outputs=outputs, command=BOTH)
    assert first.output_directories[0].tree_digest != later.output_directories[0].tree_digest
    assert compared(first) == compared(later)
    for other in ("chmod 600 f", "chmod 600 d/e/g", "echo 3 > d/e/g", "touch d/e/h"):
        result = await worker.shell(f"{MAKE}{other}", outputs=outputs, command=BOTH)
        assert compared(result) != compared(first), other


async def test_an_output_that_is_rewritten_keeps_its_time(worker: Site) -> None:
    script = "echo x > a; tar cf out.tar a; touch -d @1000000001 out.tar"
    action = await worker.action(["/bin/sh", "-c", script], outputs=["out.tar"], command=BOTH)
    executed = await worker.run(action, selection=Selection(how=Extent.EVERYTHING))
    assert [each.path for each in executed.report.rewritten] == ["out.tar"]
    assert seconds(executed.result.output_files[0].node_properties) == 1_000_000_001


async def test_a_name_that_nobody_knows_is_refused(worker: Site) -> None:
    # REAPI rule: a property that is not recognised is INVALID_ARGUMENT.
    odd = reapi.Command(output_node_properties=["owner"])
    with pytest.raises(InvalidMessage, match=r"output_node_properties: 'owner'.*mtime, unix_mode"):
        await worker.shell("true", command=odd)


async def with_inputs(site: Site, root: reapi.Directory, script: str) -> str:
    """Run `script` where `root` is; return what it says."""
    command = reapi.Command(arguments=["/bin/sh", "-c", script])
    action = reapi.Action(
        command_digest=digest_to(await site.put(command.SerializeToString(deterministic=True))),
        input_root_digest=digest_to(await site.put(root.SerializeToString(deterministic=True))),
    )
    named = await site.put(action.SerializeToString(deterministic=True))
    return await site.stdout(await site.execute(named))


def timed(seconds: int, mode: int | None = None) -> reapi.NodeProperties:
    properties = reapi.NodeProperties()
    properties.mtime.seconds = seconds
    if mode is not None:
        properties.unix_mode.value = mode
    return properties


async def root_of(worker: Site) -> reapi.Directory:
    """Return a Directory with nodes that have properties, and one that has none."""
    data = digest_to(await worker.put(b"data"))
    below = reapi.Directory(node_properties=timed(1_000_000_003, 0o750))
    below.files.add(name="g", digest=data)
    root = reapi.Directory()
    root.files.add(name="f", digest=data, node_properties=timed(1_000_000_001, 0o4600))
    root.directories.add(
        name="d", digest=digest_to(await worker.put(below.SerializeToString(deterministic=True)))
    )
    root.symlinks.add(name="l", target="f", node_properties=timed(1_000_000_002))
    return root


async def test_inputs_have_the_times_and_modes_they_come_with(any_worker: Site) -> None:
    said = await with_inputs(
        any_worker, await root_of(any_worker), "stat -c '%n %Y %a' f l d d/g; cat f"
    )
    lines = said.splitlines()
    assert [line.split()[:2] for line in lines[:4]] == [
        ["f", "1000000001"],
        ["l", "1000000002"],
        ["d", "1000000003"],
        ["d/g", "946684800"],
    ]
    assert lines[0].split()[2] == "600"
    assert lines[2].split()[2] == "750"
    assert lines[4] == "data"
    assert any_worker.left() == []


async def test_a_time_that_is_none_is_refused(worker: Site) -> None:
    root = reapi.Directory(node_properties=timed(1 << 62))
    with pytest.raises(InvalidMessage, match="mtime"):
        await with_inputs(worker, root, "true")
    root.node_properties.mtime.seconds, root.node_properties.mtime.nanos = 0, -1
    with pytest.raises(InvalidMessage, match="mtime"):
        await with_inputs(worker, root, "true")


async def test_the_workers_copy_of_an_input_is_left_as_it_is(worker: Site) -> None:
    root = await root_of(worker)
    for _ in range(2):
        await with_inputs(worker, root, "chmod 666 f; echo more >> f; cat f")
    root.files[0].ClearField("node_properties")
    assert await with_inputs(worker, root, "cat f; stat -c %Y f") == "data946684800\n"
