"""`holdfast action`."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterator

import click
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from cas.digest import Digest
from cas.tree import InputTree
from protos import remote_execution_pb2 as reapi
from re_cli.output import as_dict, bytes_text, json_option, print_json
from re_cli.remote import Remote, with_remote
from re_client.explained import Explained, explain

SHOWN_ENTRIES = 1000  # of an input tree, for people; --json has all


@click.group()
def command() -> None:
    """Look at actions."""


@command.command()
@click.argument("digest", metavar="DIGEST")
@json_option
@with_remote
def show(remote: Remote, digest: str, *, as_json: bool) -> None:
    """Show the action DIGEST, written HASH/SIZE: Action, Command, inputs, result and pin.

    Exit status: 0 done, 1 failed or there is no such action, 2 wrong usage, 3 the server cannot be
    reached.
    """
    action = remote.digest(digest)
    found = asyncio.run(_explain(remote, action))
    if as_json:
        print_json(_as_json(action, found))
    else:
        Console(soft_wrap=True, highlight=False).print(_tree(action, found))


async def _explain(remote: Remote, action: Digest) -> Explained:
    async with remote.open() as session:
        return await explain(session.store, session.actions, session.admin, remote.instance, action)


def _as_json(action: Digest, found: Explained) -> dict[str, object]:
    return {
        "digest": str(action),
        "action": as_dict(found.action),
        "command": as_dict(found.command) if found.command is not None else None,
        "inputs": list(_paths(found.inputs)) if found.inputs is not None else None,
        "missing": [str(digest) for digest in found.missing],
        "result": as_dict(found.result) if found.result is not None else None,
        "pin": as_dict(found.pin) if found.pin is not None else None,
    }


def _paths(tree: InputTree) -> Iterator[dict[str, object]]:
    """Yield every file, symlink and empty folder of `tree` by its path."""
    pending = [("", tree.root)]
    while pending:
        path, digest = pending.pop()
        directory = tree.directory(digest)
        if path and not (directory.files or directory.directories or directory.symlinks):
            yield {"path": path, "kind": "directory"}
        for file in directory.files:
            named = f"{file.digest.hash}/{file.digest.size_bytes}"
            yield {
                "path": path + file.name,
                "kind": "file",
                "digest": named,
                "executable": file.is_executable,
            }
        for link in directory.symlinks:
            yield {"path": path + link.name, "kind": "symlink", "target": link.target}
        for node in reversed(directory.directories):
            below = Digest(node.digest.hash, node.digest.size_bytes, digest.function)
            pending.append((f"{path}{node.name}/", below))


def _tree(action: Digest, found: Explained) -> Tree:
    tree = Tree(f"[bold]action[/] {action}")
    if found.action.HasField("timeout"):
        tree.add(f"timeout: {found.action.timeout.ToNanoseconds() / 1e9:g} s")
    if found.action.do_not_cache:
        tree.add("do not cache")
    if found.action.salt:
        tree.add(f"salt: {found.action.salt.hex()}")
    _add_platform(tree, found.action.platform)
    _add_command(tree, found)
    _add_inputs(tree, found)
    if found.result is None:
        tree.add("[bold]result[/] none is cached")
    else:
        _add_result(tree.add("[bold]result[/]"), found.result)
    _add_pin(tree, found)
    if found.missing:
        missing = tree.add(f"[bold red]missing from the store[/] {len(found.missing)} blobs")
        for digest in found.missing[:SHOWN_ENTRIES]:
            missing.add(str(digest))
    return tree


def _add_pin(tree: Tree, found: Explained) -> None:
    if found.pin is None:
        tree.add("[bold]pin[/] none")
        return
    branch = tree.add(f"[bold]pin[/] since {found.pin.pinned.ToJsonString()}")
    branch.add(f"by: {escape(found.pin.worker) or 'a client that uploaded it'}")
    branch.add(f"revision: {found.pin.revision}")
    branch.add(f"results that differed later: {found.pin.conflicts}")
    if found.result is None:
        _add_result(branch, found.pin.result)


def _add_platform(tree: Tree, platform: reapi.Platform) -> None:
    if platform.properties:
        branch = tree.add("platform")
        for each in platform.properties:
            branch.add(escape(f"{each.name} = {each.value}"))


def _add_command(tree: Tree, found: Explained) -> None:
    digest = found.action.command_digest
    branch = tree.add(f"[bold]command[/] {digest.hash}/{digest.size_bytes}")
    command = found.command
    if command is None:
        branch.add("[red]not in the store[/]")
        return
    branch.add(escape(shlex.join(command.arguments)))
    if command.working_directory:
        branch.add(escape(f"working directory: {command.working_directory}"))
    for variable in command.environment_variables:
        branch.add(escape(f"{variable.name}={variable.value}"))
    outputs = (*command.output_paths, *command.output_files, *command.output_directories)
    for path in dict.fromkeys(outputs):
        branch.add(escape(f"output: {path}"))
    _add_platform(branch, command.platform)


def _add_inputs(tree: Tree, found: Explained) -> None:
    if not found.action.HasField("input_root_digest"):
        tree.add("[bold]inputs[/] none named")
        return
    root = found.action.input_root_digest
    branch = tree.add(f"[bold]inputs[/] {root.hash}/{root.size_bytes}")
    if found.inputs is None:
        branch.add("[red]not in the store as a whole[/]")
        return
    for number, entry in enumerate(_paths(found.inputs)):
        if number == SHOWN_ENTRIES:
            branch.add("... and more: --json has all")
            break
        branch.add(escape(_entry_text(entry)))


def _entry_text(entry: dict[str, object]) -> str:
    match entry["kind"]:
        case "symlink":
            return f"{entry['path']} -> {entry['target']}"
        case "file":
            program = "  executable" if entry["executable"] else ""
            return f"{entry['path']}  {entry['digest']}{program}"
        case _:
            return str(entry["path"])


def _add_result(branch: Tree, result: reapi.ActionResult) -> None:
    branch.add(f"exit status: {result.exit_code}")
    if result.execution_metadata.worker:
        branch.add(f"worker: {escape(result.execution_metadata.worker)}")
    for file in result.output_files:
        named = f"{file.digest.hash}/{file.digest.size_bytes}"
        branch.add(escape(f"file {file.path}  {named}"))
    for directory in result.output_directories:
        named = f"{directory.tree_digest.hash}/{directory.tree_digest.size_bytes}"
        branch.add(escape(f"folder {directory.path}  Tree {named}"))
    for link in (*result.output_symlinks, *result.output_file_symlinks):
        branch.add(escape(f"symlink {link.path} -> {link.target}"))
    streams = (
        ("stdout", result.stdout_raw, result.stdout_digest),
        ("stderr", result.stderr_raw, result.stderr_digest),
    )
    for name, raw, named_stream in streams:
        size = len(raw) or named_stream.size_bytes
        if size:
            said = f"  {named_stream.hash}/{size}" if named_stream.hash else ""
            branch.add(f"{name}: {bytes_text(size)}{said}")
