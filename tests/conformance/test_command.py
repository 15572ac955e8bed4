"""`holdfast conformance`, as people and continuous integration call it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from conformance.suite import CHECKS
from tests.conformance.wrong_server import Fault, wrong_server
from tests.serving import HOLDFAST


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    command: list[str] = [str(HOLDFAST), "conformance", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_ids_are_unique() -> None:
    assert len({check.id for check in CHECKS}) == len(CHECKS)


def test_the_list_has_every_section() -> None:
    listed = call("--list")
    assert listed.returncode == 0
    assert f"{len(CHECKS)} of {len(CHECKS)} checks" in listed.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("nowhere", "is no address"),
        ("grpc://127.0.0.1:1", "cannot be reached"),
        ("grpc://127.0.0.1:1 --section none", "there are the sections capabilities, cas"),
        ("grpc://127.0.0.1:1 --pid 99999999", "no process"),
        ("grpc://127.0.0.1:1 --junit /no/such/folder/x.xml", "no folder"),
        ("grpc://127.0.0.1:1 --header Some.Text-bin=x", "no name of a header"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(arguments: str, told: str) -> None:
    ended = call(*arguments.split())
    assert ended.returncode == 2
    assert told in ended.stderr


async def test_a_broken_must_ends_with_1_and_is_told_in_every_form(tmp_path: Path) -> None:
    junit = tmp_path / "junit.xml"
    async with wrong_server(Fault.UNKNOWN_FUNCTION_ANNOUNCED) as address:
        ended = await _called(address, "--section", "capabilities", "--junit", str(junit))
        told = await _called(address, "--section", "capabilities", "--json")
    assert ended.returncode == told.returncode == 1
    assert "Broken: 1 MUST, 1 SHOULD." in ended.stdout
    assert "UNKNOWN is among digest_functions" in ended.stdout
    outcomes = {each["id"]: each["outcome"] for each in json.loads(told.stdout)["checks"]}
    assert outcomes["capabilities.digest_functions_are_named"] == "failed"
    suite = ET.parse(junit).getroot().find("testsuite")
    assert suite is not None
    assert suite.get("failures") == "2"


async def test_a_broken_should_counts_if_it_is_asked_to() -> None:
    check = "bytestream.an_overtaken_write_ends_at_once"
    async with wrong_server(Fault.EXISTING_BLOB_READ_TO_ITS_END) as address:
        assert (await _called(address, "--check", check)).returncode == 0
        assert (await _called(address, "--check", check, "--strict")).returncode == 1


async def _called(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Call in a thread: the server answers from this one."""
    return await asyncio.to_thread(call, *arguments)
