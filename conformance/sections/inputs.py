"""What an action finds where it runs, and what becomes of one that cannot be run."""

from __future__ import annotations

from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from conformance import needs
from conformance.actions import (
    EMPTY,
    Inputs,
    execute,
    missing_subjects,
    platform_of,
    put_action,
    run,
    script,
    stdout_of,
    unexecuted,
)
from conformance.check import MUST, ROBUSTNESS, SHOULD, Section
from conformance.names import missing_subject
from conformance.refusal import BAD_INPUT, CODES, Refused
from conformance.target import Target, unique
from conformance.violation import NotApplicable, expect
from protos import remote_execution_pb2 as reapi

check = Section("execution", (needs.execution,))

REFUSAL_SECONDS = 90.0  # a server may wait that long for a worker to come
MISSING = "Execution.Execute, l.103-113"


async def _said(target: Target, command: reapi.Command, inputs: Inputs = EMPTY) -> bytes:
    """Run a command; return its stdout."""
    result = (await execute(target, await put_action(target, command, inputs))).result
    expect(result.exit_code == 0, f"exit code {result.exit_code}")
    return await stdout_of(target, result)


@check(
    MUST,
    "Files and folders of the input root are where they belong, empty ones too.",
    source="Action.input_root_digest, l.614-621",
)
async def inputs_are_in_place(target: Target) -> None:
    inputs = Inputs({"a": b"1", "folder/b": b"2", "folder/deep/er/c": b"", "empty": None})
    text = "cat a folder/b folder/deep/er/c && test -d empty"
    said = await _said(target, script(text), inputs)
    expect(said == b"12", f"the action saw {said!r}")


@check(
    MUST,
    "Files that are executable can be executed.",
    source="FileNode.is_executable, l.1037-1038",
)
async def executables_are_executable(target: Target) -> None:
    inputs = Inputs({"tool": b"#!/bin/sh\necho ran\n"}, executables=frozenset({"tool"}))
    expect(await _said(target, script("./tool"), inputs) == b"ran\n", "the tool said another thing")


@check(
    MUST,
    "Symlinks of the input root lead where they say.",
    source="SymlinkNode.target, l.1064-1073",
)
async def symlinks_are_in_place(target: Target) -> None:
    inputs = Inputs({"folder/file": b"linked"}, {"link": "folder/file", "folder/up": "../link"})
    said = await _said(target, script("readlink link; cat folder/up"), inputs)
    expect(said == b"folder/file\nlinked", f"the action saw {said!r}")


@check(
    MUST,
    "An empty input root needs no upload: its Directory is the empty blob.",
    source="ContentAddressableStorage, l.342-344",
)
async def an_empty_root_needs_no_upload(target: Target) -> None:
    action = reapi.Action(
        command_digest=await target.put_message(_with_platform(target, script("echo ran"))),
        input_root_digest=target.digest(b""),
        salt=unique(8),
        platform=platform_of(target),
    )
    result = (await execute(target, await target.put_message(action))).result
    expect(await stdout_of(target, result) == b"ran\n", "stdout is another")


def _with_platform(target: Target, command: reapi.Command) -> reapi.Command:
    command.platform.CopyFrom(platform_of(target))
    return command


@check(
    MUST,
    "Environment variables of the Command are set, and override what the worker sets.",
    source="Command.environment_variables, l.711-719",
)
async def variables_are_set(target: Target) -> None:
    command = script('echo "$A|$PATH"')
    command.environment_variables.add(name="A", value="two words")
    command.environment_variables.add(name="PATH", value="/mine:/bin")
    said = await _said(target, command)
    expect(said == b"two words|/mine:/bin\n", f"the action saw {said!r}")


@check(
    MUST,
    "Arguments reach the program as they are.",
    source="Command.arguments, l.694-709",
)
async def arguments_are_as_they_are(target: Target) -> None:
    command = script('for each; do printf "[%s]" "$each"; done')
    command.arguments.extend(["sh", "", "two words", "'\"$HOME", "ü"])
    said = await _said(target, command)
    expect(said == "[][two words]['\"$HOME][ü]".encode(), f"the program saw {said!r}")


@check(
    MUST,
    "The command runs in working_directory, below the input root.",
    source="Command.working_directory, l.817-820",
)
async def the_working_directory_is_heeded(target: Target) -> None:
    command = script("cat here ../there")
    command.working_directory = "some/folder"
    inputs = Inputs({"some/folder/here": b"1", "some/there": b"2"})
    said = await _said(target, command, inputs)
    expect(said == b"12", f"the action saw {said!r}")


@check(
    SHOULD,
    "A program without slashes in its name is looked for on the Command's PATH.",
    source="Command.arguments, l.694-709",
    needs=[needs.version(2, 3)],
)
async def programs_are_looked_for_on_the_path(target: Target) -> None:
    command = reapi.Command(arguments=["sh", "-c", "echo found"])
    command.environment_variables.add(name="PATH", value="/bin:/usr/bin")
    expect(await _said(target, command) == b"found\n", "stdout is another")


@check(
    MUST,
    "An action cannot change its inputs' blobs, and no later action sees what it did to them.",
    source="ContentAddressableStorage, l.197-199",
)
async def inputs_are_not_changed(target: Target) -> None:
    data = unique()
    inputs = Inputs({"f": data})
    await run(target, "chmod u+w f; echo changed >> f; true", inputs=inputs)
    expect(await target.fetch(target.digest(data)) == data, "the blob is another now")
    expect(await _said(target, script("cat f"), inputs) == data, "the next action saw other bytes")


# What cannot be run.


def _expect_missing(target: Target, status: Status, *absent: reapi.Digest) -> None:
    subjects = missing_subjects(status)
    wanted = {missing_subject(digest, target.function) for digest in absent}
    expect(subjects, "there is no violation of type MISSING among the details")
    expect(wanted <= subjects, f"{len(wanted - subjects)} of {len(wanted)} blobs are not named")
    expect(subjects <= wanted, f"blobs are named that are not missing: {subjects - wanted}")


def _expect_code(status: Status, *allowed: StatusCode) -> None:
    code = CODES[status.code]
    names = " or ".join(each.name for each in allowed)
    expect(code in allowed, f"{code.name} was answered in place of {names}: {status.message}")


async def _of_missing(target: Target, *, root: Message | bytes, command: bytes) -> reapi.Digest:
    """Upload an Action whose Command is not there, unless it was uploaded before."""
    action = reapi.Action(
        command_digest=target.digest(command),
        input_root_digest=await target.put_one(
            root if isinstance(root, bytes) else root.SerializeToString(deterministic=True)
        ),
        platform=platform_of(target),
        salt=unique(8),
    )
    return await target.put_message(action)


async def _of_absent_inputs(target: Target) -> tuple[reapi.Digest, list[reapi.Digest]]:
    """Upload an Action of which files and a folder are not there; return it and them."""
    text = "cat f0 f1 f2 && ls d"  # a worker may well load lazily what nobody reads
    command = _with_platform(target, script(text)).SerializeToString(deterministic=True)
    await target.put_one(command)
    absent = [target.digest(unique()) for _ in range(4)]
    root = reapi.Directory()
    for number, digest in enumerate(absent[:3]):
        root.files.add(name=f"f{number}", digest=digest)
    root.directories.add(name="d", digest=absent[3])
    return await _of_missing(target, root=root, command=command), absent


@check(
    MUST,
    "Execute of an Action that is not there is an error.",
    source=MISSING,
)
async def an_absent_action_is_not_run(target: Target) -> None:
    status = await unexecuted(target, target.digest(unique()))
    _expect_code(
        status,
        StatusCode.FAILED_PRECONDITION,
        StatusCode.NOT_FOUND,
        StatusCode.INVALID_ARGUMENT,
    )


@check(
    MUST,
    "Execute of an Action whose Command is not there is FAILED_PRECONDITION.",
    source="Execution.Execute, l.88-90",
)
async def an_absent_command_is_not_run(target: Target) -> None:
    action = await _of_missing(target, root=reapi.Directory(), command=unique())
    _expect_code(await unexecuted(target, action), StatusCode.FAILED_PRECONDITION)


@check(
    MUST,
    "Execute of an Action of which inputs are not there is FAILED_PRECONDITION.",
    source="Execution.Execute, l.88-90",
)
async def absent_inputs_are_not_run(target: Target) -> None:
    action, _ = await _of_absent_inputs(target)
    _expect_code(await unexecuted(target, action), StatusCode.FAILED_PRECONDITION)


@check(
    SHOULD,
    "A missing Command is named by a violation of type MISSING, with blobs/HASH/SIZE.",
    source=MISSING,
)
async def an_absent_command_is_named(target: Target) -> None:
    command = unique()
    action = await _of_missing(target, root=reapi.Directory(), command=command)
    _expect_missing(target, await unexecuted(target, action), target.digest(command))


@check(
    SHOULD,
    "Missing inputs are named, each by a violation of type MISSING, all of them at once.",
    source=MISSING,
)
async def absent_inputs_are_named(target: Target) -> None:
    action, absent = await _of_absent_inputs(target)
    _expect_missing(target, await unexecuted(target, action), *absent)


@check(
    MUST,
    "An action that lacked inputs runs once they are uploaded.",
    source="Execution.Execute, l.88-90",
)
async def what_was_missing_may_come_later(target: Target) -> None:
    data = unique()
    command = _with_platform(target, script("cat f")).SerializeToString(deterministic=True)
    await target.put_one(command)
    root = reapi.Directory()
    root.files.add(name="f", digest=target.digest(data))
    action = await _of_missing(target, root=root, command=command)
    await unexecuted(target, action)
    await target.put_one(data)
    expect(await stdout_of(target, (await execute(target, action)).result) == data, "other bytes")


@check(
    MUST,
    "Execute refuses an Action's digest with a wrong size.",
    source="Digest, l.1083-1085",
)
async def an_action_of_a_wrong_size_is_not_run(target: Target) -> None:
    action = await put_action(target, script("true"))
    wrong = reapi.Digest(hash=action.hash, size_bytes=action.size_bytes + 1)
    await unexecuted(target, wrong)


@check(
    ROBUSTNESS,
    "Execute refuses an Action, a Command or an input root that is none.",
    source="Execution.Execute, l.87",
)
async def malformed_messages_are_not_run(target: Target) -> None:
    garbage = b"\xff" * 40
    command = _with_platform(target, script("true")).SerializeToString(deterministic=True)
    await target.put(garbage, command)
    for action in (
        target.digest(garbage),
        await _of_missing(target, root=reapi.Directory(), command=garbage),
        await _of_missing(target, root=garbage, command=command),
    ):
        _expect_code(await unexecuted(target, action), *BAD_INPUT)


@check(
    ROBUSTNESS,
    "Execute refuses a Command without arguments, or says that it failed.",
    source="Command.arguments, l.694-709",
)
async def a_command_without_arguments_fails(target: Target) -> None:
    action = await put_action(target, reapi.Command())
    try:
        response = (await execute(target, action)).response
    except Refused as error:
        expect(error.code in BAD_INPUT, f"{error.code.name} was answered")
        return
    expect(response.status.code or response.result.exit_code, "it is said to have succeeded")


@check(
    ROBUSTNESS,
    "A program that does not exist fails the action, whichever way.",
    source="Command.arguments, l.694-709",
)
async def an_absent_program_fails(target: Target) -> None:
    action = await put_action(target, reapi.Command(arguments=["/no/such/program"]))
    try:
        response = (await execute(target, action)).response
    except Refused as error:
        expect(error.code in BAD_INPUT, f"{error.code.name} was answered")
        return
    expect(response.status.code or response.result.exit_code, "it is said to have succeeded")


@check(
    SHOULD,
    "A platform property that the server does not know is refused.",
    source="Platform.Property, l.869-891",
    seconds=REFUSAL_SECONDS,
)
async def unknown_properties_are_refused(target: Target) -> None:
    strange = target.with_platform({**target.platform, "conformance-no-such-property": "1"})
    status = await unexecuted(target, await put_action(strange, script("true")))
    _expect_code(
        status,
        StatusCode.INVALID_ARGUMENT,
        StatusCode.FAILED_PRECONDITION,
        StatusCode.UNAVAILABLE,
        StatusCode.RESOURCE_EXHAUSTED,
    )


@check(
    SHOULD,
    "The platform of the Action comes before the one of its Command.",
    source="Action.platform, l.665-673",
    needs=[needs.version(2, 2)],
)
async def the_actions_platform_comes_first(target: Target) -> None:
    command = script("echo ran")
    command.platform.properties.add(name="conformance-no-such-property", value="1")
    action = reapi.Action(
        command_digest=await target.put_message(command),
        input_root_digest=await target.put_message(reapi.Directory()),
        platform=platform_of(target),
        salt=unique(8),
    )
    if not action.platform.properties:
        raise NotApplicable("it shows where actions have properties: --platform KEY=VALUE")
    result = (await execute(target, await target.put_message(action))).result
    expect(await stdout_of(target, result) == b"ran\n", "stdout is another")


@check(
    MUST,
    "A node property that the server does not know is INVALID_ARGUMENT.",
    source="Command.output_node_properties, l.822-833",
)
async def unknown_node_properties_are_refused(target: Target) -> None:
    command = script("echo > out", "out")
    command.output_node_properties.append("conformance-no-such-property")
    status = await unexecuted(target, await put_action(target, command))
    _expect_code(status, StatusCode.INVALID_ARGUMENT)
